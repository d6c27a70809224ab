"""What crosses between hosts: messages, their encoding, and who may speak."""
