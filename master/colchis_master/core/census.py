"""How many apps and containers are in which state; looks at those only that have changed."""

from collections import Counter

from colchis_master.core.apps import app_state
from colchis_master.core.state import State


class Census:
    """Counts what is in ``state``."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._known: dict[str, tuple[str, Counter[str]]] = {}
        self._apps: Counter[str] = Counter()
        self._containers: Counter[str] = Counter()

    def apps(self) -> dict[str, int]:
        """Apps by their state in one word."""
        self.follow()
        return {state: count for state, count in self._apps.items() if count}

    def containers(self) -> dict[str, int]:
        """Containers by their state."""
        self.follow()
        return {state: count for state, count in self._containers.items() if count}

    def follow(self) -> None:
        """Count again the apps that may have changed."""
        altered, self._state.altered = self._state.altered, set()
        for name in altered:
            known = self._known.pop(name, None)
            if known is not None:
                self._apps[known[0]] -= 1
                self._containers.subtract(known[1])
            app = self._state.apps.get(name)
            if app is not None:
                now = app_state(app), Counter(e.state.value for e in app.containers.values())
                self._known[name] = now
                self._apps[now[0]] += 1
                self._containers.update(now[1])
