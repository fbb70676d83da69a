"""Memory of a GPU that is in use, by nvidia-smi or NVML; on a Jetson, whose GPU has none of its own, the system's.

It is the whole device's: in a container the driver doesn't tell which process holds what. So a reading is a difference,
and what others take or give back meanwhile is in it.
"""

from colora.devices.probe import Sources
from colora.devices.sensors_linux import LinuxSensors

NVIDIA_SMI = ("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits")
HOW = "used memory of the first GPU (nvidia-smi, NVML; on a Jetson the system's), less that before anything was opened"


def used_bytes(sources: Sources | None = None) -> int | None:
    """Of the first GPU, which is the one that backends take; None where there is none."""
    s = sources or Sources()
    told = (s.run(NVIDIA_SMI) or "").splitlines()
    if told and told[0].strip().isdigit():
        return int(told[0]) * 2**20
    if s.release.exists():  # a Jetson: nvidia-smi answers [N/A]
        return LinuxSensors().read().memory_used_bytes
    return _by_nvml(s)


def _by_nvml(s: Sources) -> int | None:
    nvml = s.nvml()
    if nvml is None:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(0)).used)
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()
