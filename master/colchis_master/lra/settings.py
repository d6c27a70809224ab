"""What an operator chooses about the placing of long-running applications."""

from dataclasses import dataclass, field

from colchis.model.resources import Resources

MODES = ("ordered", "weighted")
DEFAULT_R_MIN = Resources.of(cpus=1, memory="1GiB")


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the parts of the objective, each part being normalised to 0..1.

    ``machines`` is the share of nodes that hold any container, ``balance`` the mean over the nodes
    of the square of their dominant share; both are subtracted.
    """

    placed: float = 1.0
    violations: float = 0.5
    fragmentation: float = 0.25
    machines: float = 0.0
    balance: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not 0 <= value < 1e6:
                raise ValueError(f"the weight of {name} is {value}; it must be 0 or more")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a round is solved.

    ``mode`` is ``ordered`` (apps placed, then weighted extents, then the rest) or ``weighted``
    (their weighted sum). ``time_limit`` is in seconds of wall time and covers building the model.
    ``gap`` is the relative distance to the proven bound at which the search may stop; None asks
    for a proven optimum of small models and 1 % of large ones. ``r_min`` is what a node should
    keep free to count as not fragmented, None the default of 1 core and 1 GiB.
    """

    mode: str = "ordered"
    time_limit: float = 5.0
    gap: float | None = None
    weights: Weights = field(default_factory=Weights)
    r_min: Resources | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"{self.mode!r} is no mode; write one of {', '.join(MODES)}")
        if not 0 < self.time_limit < 1e7:
            raise ValueError(f"the time limit is {self.time_limit} s; it must be above 0")
        if self.gap is not None and not 0 <= self.gap <= 1:
            raise ValueError(f"the gap is {self.gap}; it must be from 0 to 1")

    @property
    def ordered(self) -> bool:
        return self.mode == "ordered"

    @property
    def keep_free(self) -> Resources:
        """The r_min in force."""
        return DEFAULT_R_MIN if self.r_min is None else self.r_min
