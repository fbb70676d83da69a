"""The machines we export for. A fact without a source does not get in."""

from colora.devices.device import Device, JetPack
from colora.devices.errors import unknown

# JetPack → L4T, CUDA, TensorRT, Python, boards: dusty-nv/jetson-containers and NVIDIA's JetPack and TensorRT pages,
# read in November 2026. TensorRT 10.16 of JetPack 7.2 is from a container recipe.
JETPACK_5 = JetPack("5.0-5.1", "R34-R35", "11.4", "8.4-8.5", "3.8")
JETPACK_6_0 = JetPack("6.0", "R36.2-R36.3", "12.2", "8.6.2", "3.10")
JETPACK_6_2 = JetPack("6.1-6.2", "R36.4", "12.6", "10.3.0", "3.10")
JETPACK_7_2 = JetPack("7.2", "R39", "13.2", "10.16", "3.12")

# Compute capability: Xavier 7.2, Orin 8.7 (the same pages). Memory: the product names.
ORIN = (JETPACK_5, JETPACK_6_0, JETPACK_6_2, JETPACK_7_2)

DEVICES = {
    d.name: d
    for d in (
        Device("cpu", "any CPU that ONNX Runtime runs on", "", None),
        Device("jetson-xavier-nx", "Jetson Xavier NX", "7.2", None, (JETPACK_5,)),
        Device("jetson-orin-nano-4gb", "Jetson Orin Nano 4 GB", "8.7", 4, ORIN),
        Device("jetson-orin-nano-8gb", "Jetson Orin Nano 8 GB", "8.7", 8, ORIN),
        Device("jetson-orin-nx-8gb", "Jetson Orin NX 8 GB", "8.7", 8, ORIN),
        Device("jetson-orin-nx-16gb", "Jetson Orin NX 16 GB", "8.7", 16, ORIN),
        Device("jetson-agx-orin-32gb", "Jetson AGX Orin 32 GB", "8.7", 32, ORIN),
        Device("jetson-agx-orin-64gb", "Jetson AGX Orin 64 GB", "8.7", 64, ORIN),
    )
}
"""Name → device."""

ALIASES = {"jetson": "jetson-orin-nano-8gb"}
"""Short name → the one board that it means; commands that take it print which."""


def find_device(name: str) -> Device:
    """Device of a name or alias. Raises: UnknownName with the nearest names."""
    found = DEVICES.get(ALIASES.get(name, name))
    if found is None:
        raise unknown("target", name, [*DEVICES, *ALIASES])
    return found
