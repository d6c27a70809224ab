"""The master against modelled agents, a lossy network and a virtual clock."""
