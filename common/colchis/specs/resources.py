"""Reading amounts: ``cpus``, ``memory``, and whole numbers of anything else."""

from colchis.model.constraints import CLUSTER, NODE
from colchis.model.resources import CPUS, MEMORY, Resources
from colchis.specs.cursor import IDENTIFIER, Cursor, Fields, suggest

MAX_EXTRA = 10**9
_MEANT = {"cpus": CPUS, "cpu": CPUS, "cores": CPUS, "core": CPUS, "mem": MEMORY, "ram": MEMORY}
RESERVED = (NODE, CLUSTER, "name", "containers", "executors", "state")


def read_resources(at: Cursor) -> Resources:
    """The ``resources`` of a container; what is absent counts as zero."""
    return resources_in(at.open_fields("resources", (), (CPUS, MEMORY)))


def resources_in(fields: Fields) -> Resources:
    """``cpus``, ``memory`` and every key that is not known otherwise."""
    amounts: dict[str, int] = {}
    cpus, memory = fields.get(CPUS), fields.get(MEMORY)
    if cpus:
        amounts[CPUS] = cpus.cpus()
    if memory:
        amounts[MEMORY] = memory.memory()
    for name, at in fields.others().items():
        meant = _MEANT.get(name.lower()) or _misspelt(name, fields)
        if meant or name in RESERVED or not IDENTIFIER.fullmatch(name):
            fields.refuse(name, meant)
        elif isinstance(at.value.data, list | dict):
            fields.refuse(name)
        else:
            amounts[name] = at.whole(f"an amount of {name}", 0, MAX_EXTRA)
    return Resources.from_amounts(amounts)


def _misspelt(name: str, fields: Fields) -> str:
    """The longer key that was meant; short ones are too close to other names (gpus)."""
    meant = suggest(name, fields.known)
    return meant if len(meant) > 4 else ""
