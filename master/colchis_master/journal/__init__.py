"""What survives a crash of the master."""

from colchis_master.journal.journal import Journal, JournalError

__all__ = ["Journal", "JournalError"]
