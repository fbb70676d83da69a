"""TASKS: what each task's camera sees, as a degradation to train against when no real pairs are given."""

from dataclasses import dataclass

from colora.devices.errors import unknown


@dataclass(frozen=True)
class Task:
    """A restoration task."""

    name: str
    summary: str
    """one line for tables"""
    degradations: tuple[str, ...]
    """names in DEGRADATIONS, applied in this order; "blur|motion" is one of the two, drawn for each picture"""
    exposure: float | None = None
    """mean that clean photographs are given first, of 1; None: their own. A dark picture does not tell how bright it
    was meant: the task says so"""


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("rain", "rain streaks", ("rain",)),
        Task("raindrop", "drops on the lens or the window", ("raindrop",)),
        Task("rain-raindrop", "rain streaks behind drops on the lens", ("rain", "raindrop")),
        Task("noise", "sensor noise: white, shot and correlated", ("noise",)),
        Task("blur", "out of focus, moved or shaken", ("blur|motion", "grain")),
        Task("motion", "camera shake and motion blur", ("motion", "grain")),
        Task("jpeg", "compression artefacts", ("jpeg",)),
        Task("haze", "haze and fog", ("haze",)),
        Task("lowlight", "under-exposure", ("lowlight",), exposure=0.46),  # a camera meters for 18 % grey
    )
}


def find_task(name: str) -> Task:
    """Task by name. Raises UnknownName with the nearest names."""
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]
