"""The machines we export for. A fact without a source does not get in.

Sources, read in November 2026:
- compute capability: developer.nvidia.com/cuda-gpus and /cuda-legacy-gpus.
- Jetson memory, bandwidth, cores, clocks: NVIDIA's module comparison (developer.nvidia.com/embedded/jetson-modules)
  as quoted by Ultralytics' "NVIDIA Jetson" guide and Seeed's product tables; Orin Nano: its data sheet.
- power modes of Orin, Xavier, TX2 NX: NVIDIA's nvpmodel configurations, copies of which are in
  LineageOS/android_device_nvidia_{concord,galen,quill} (the `_super` ones, of JetPack 6.2, at 370b63a in concord).
  They give SMs (2 for each TPC that is on), GPU clock and memory clock; bandwidth is clock × 2 × bus width.
  NVIDIA's DLA repository gives AGX Orin 64 GB 14 TOPS at 15 W, which means 4 SMs where the configuration has 6.
- Thor: 2070 TFLOPS of sparse FP4 are 259 of dense FP16; its modes' names: L4T R38; no clocks of theirs were found.
- the first JetPack of each Orin: developer.nvidia.com/jetpack-sdk-50dp, /embedded/jetpack-sdk-51 and -511.
- modules: rbonghi/jetson_stats f41d5ca, MODULE_NAME_TABLE.
- GeForce: NVIDIA's Turing, Ampere GA102, Ada and Blackwell architecture papers (SMs, boost clock, bandwidth).
"""

from colora.devices.device import Device, PowerMode
from colora.devices.errors import unknown
from colora.devices.jetpack import JETPACKS, JetPack

JP4 = (JETPACKS["4.6"], JETPACKS["4.6.1-4.6.6"])
JP5 = (JETPACKS["5.0"], JETPACKS["5.1"])
XAVIER = JP4 + JP5
ORIN = (JETPACKS["5.1"], JETPACKS["6.0"], JETPACKS["6.1-6.2"], JETPACKS["7.2"])
FIRST_ORIN = (JETPACKS["5.0"], *ORIN)
THOR = (JETPACKS["7.0-7.1"], JETPACKS["7.2"])

NX_MODULES = ("p3668-0000", "p3668-0001")
AGX_MODULES = ("p2888-0003", "p2888-0004")
NANO_8_MODULES = ("p3767-0003", "p3767-0005")
ORIN_32_MODULES = ("p3701-0000", "p3701-0004")

ORIN_NANO_8 = (
    PowerMode("MAXN_SUPER", 8, 1020, 102.4),
    PowerMode("25W", 8, 918, 102.4),
    PowerMode("15W", 8, 612, 68.3),
    PowerMode("7W", 4, 408, 68.3),
)
ORIN_NANO_4 = (
    PowerMode("MAXN_SUPER", 4, 1020, 51.2),
    PowerMode("25W", 4, 1020, 51.2),
    PowerMode("10W", 4, 612, 34.1),
    PowerMode("7W_AI", 4, 408, 34.1),
)
ORIN_NX_16 = (
    PowerMode("MAXN_SUPER", 8, 1173, 102.4),
    PowerMode("40W", 8, 1173, 102.4),
    PowerMode("MAXN", 8, 918, 102.4),
    PowerMode("25W", 8, 408, 102.4),
    PowerMode("15W", 4, 612, 102.4),
    PowerMode("10W", 4, 612, 68.3),
)
ORIN_NX_8 = (
    PowerMode("MAXN_SUPER", 8, 1173, 102.4),
    PowerMode("40W", 8, 1173, 102.4),
    PowerMode("20W", 8, 408, 102.4),
    PowerMode("15W", 4, 612, 102.4),
    PowerMode("10W", 4, 612, 68.3),
)
AGX_ORIN_32 = (
    PowerMode("MAXN", 14, 930, 204.8),
    PowerMode("MODE_40W", 14, 816, 204.8),
    PowerMode("MODE_30W", 8, 612, 204.8),
    PowerMode("MODE_15W", 6, 408, 136.5),
)
AGX_ORIN_64 = (
    PowerMode("MAXN", 16, 1300, 204.8),
    PowerMode("MODE_50W", 16, 816, 204.8),
    PowerMode("MODE_30W", 8, 612, 204.8),
    PowerMode("MODE_15W", 6, 408, 136.5),
)
XAVIER_NX = (
    PowerMode("MODE_20W_6CORE", 6, 1109, 59.7),
    PowerMode("MODE_15W_6CORE", 6, 1109, 51.2),
    PowerMode("MODE_10W_4CORE", 6, 803, 51.2),
)
AGX_XAVIER = (
    PowerMode("MAXN", 8, 1377, 136.5),
    PowerMode("MODE_30W_ALL", 8, 900, 102.4),
    PowerMode("MODE_15W", 8, 670, 85.2),
    PowerMode("MODE_10W", 4, 520, 68.2),
)
TX2_NX = (
    PowerMode("MAXN", 2, 1300, 51.2),
    PowerMode("MAXP_CORE_ALL", 2, 1120, 51.2),
    PowerMode("MAXQ", 2, 850, 51.2),
)
NANO = (PowerMode("MAXN", 1, 921.6, 25.6), PowerMode("5W", 1, 640, 25.6))
AGX_THOR = (
    PowerMode("MAXN", 20, 1575, 273),
    PowerMode("120W"),
    PowerMode("90W"),
    PowerMode("70W"),
)


def _jetson(
    name: str,
    title: str,
    capability: str,
    memory_gb: int,
    jetpacks: tuple[JetPack, ...],
    modes: tuple[PowerMode, ...],
    dla: int,
    *modules: str,
) -> Device:
    return Device(name, title, capability, memory_gb, jetpacks, modes, dla, modules)


def _geforce(name: str, title: str, capability: str, memory_gb: int, *figures: float) -> Device:
    """figures: SMs, MHz and GB/s of the card named in the title."""
    mode = PowerMode("default", int(figures[0]), *figures[1:])
    return Device(name, title, capability, memory_gb, modes=(mode,))


DEVICES = {
    d.name: d
    for d in (
        Device("cpu", "any CPU that ONNX Runtime runs on", "", None),
        Device("cpu-x86-64", "CPU, x86-64", "", None, machine="x86_64"),
        Device("cpu-aarch64", "CPU, 64-bit Arm", "", None, machine="aarch64"),
        _jetson("jetson-nano", "Jetson Nano", "5.3", 4, JP4, NANO, 0, "p3448-0000", "p3448-0002"),
        _jetson("jetson-tx2-nx", "Jetson TX2 NX", "6.2", 4, JP4, TX2_NX, 0, "p3636-0001"),
        _jetson("jetson-xavier-nx", "Jetson Xavier NX", "7.2", 8, XAVIER, XAVIER_NX, 2, *NX_MODULES),
        _jetson("jetson-agx-xavier", "Jetson AGX Xavier", "7.2", 32, XAVIER, AGX_XAVIER, 2, *AGX_MODULES),
        _jetson(
            "jetson-orin-nano-4gb", "Jetson Orin Nano 4 GB", "8.7", 4, ORIN, ORIN_NANO_4, 0, "p3767-0004"
        ),
        _jetson(
            "jetson-orin-nano-8gb", "Jetson Orin Nano 8 GB", "8.7", 8, ORIN, ORIN_NANO_8, 0, *NANO_8_MODULES
        ),
        _jetson("jetson-orin-nx-8gb", "Jetson Orin NX 8 GB", "8.7", 8, ORIN, ORIN_NX_8, 1, "p3767-0001"),
        _jetson("jetson-orin-nx-16gb", "Jetson Orin NX 16 GB", "8.7", 16, ORIN, ORIN_NX_16, 2, "p3767-0000"),
        _jetson(
            *("jetson-agx-orin-32gb", "Jetson AGX Orin 32 GB", "8.7", 32, FIRST_ORIN, AGX_ORIN_32, 2),
            *ORIN_32_MODULES,
        ),
        _jetson(
            "jetson-agx-orin-64gb", "Jetson AGX Orin 64 GB", "8.7", 64, ORIN, AGX_ORIN_64, 2, "p3701-0005"
        ),
        _jetson("jetson-agx-thor", "Jetson AGX Thor (T5000)", "11.0", 128, THOR, AGX_THOR, 0, "p3834-0008"),
        _geforce("rtx-20", "GeForce RTX 20 (as 2080 Ti)", "7.5", 11, 68, 1545, 616),
        _geforce("rtx-30", "GeForce RTX 30 (as 3090)", "8.6", 24, 82, 1695, 936),
        _geforce("rtx-40", "GeForce RTX 40 (as 4090)", "8.9", 24, 128, 2520, 1008),
        _geforce("rtx-50", "GeForce RTX 50 (as 5090)", "12.0", 32, 170, 2407, 1792),
        Device("rtx", "GeForce RTX 20 to 50, an engine for each", "7.5", None),
        Device("triton", "Triton Inference Server, any", "", None),
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
