"""What boards really wrote: a recorded log of each generation of JetPack, published by their owners.

4, 5: waggle-sensor/jetson-exporter f42578a, its tests (a Nano with JetPack 4.6.1, a Xavier NX with 4, a Xavier NX with
5.1.2); a TX2: henrygd/beszel pull request 1631. 6, 7: lesomnus/tegra-exporter a1384f4, stats/parse_test.go (an AGX Orin
64 GB with L4T R36.4.4, an AGX Thor with R38.4.0), three seconds each.
"""

from __future__ import annotations

import pytest
from colora.devices.tegrastats import Sample, parse_log

NANO_461 = (
    "RAM 1923/3964MB (lfb 2x2MB) SWAP 191/1982MB (cached 6MB) IRAM 0/252kB(lfb 252kB) CPU [5%@1224,4%@1224,3%@1224,"
    "6%@1224] EMC_FREQ 0%@1600 GR3D_FREQ 0%@76 APE 25 PLL@37C CPU@40C PMIC@50C GPU@40C AO@45C thermal@40C "
    "POM_5V_IN 1750/1628 POM_5V_GPU 0/0 POM_5V_CPU 366/406"
)
XAVIER_NX_4 = (
    "RAM 5246/7771MB (lfb 7x4MB) SWAP 983/20269MB (cached 280MB) CPU [47%@1420,23%@1420,32%@1420,22%@1420,31%@1420,"
    "96%@1420] EMC_FREQ 2%@1600 GR3D_FREQ 0%@1109 APE 150 MTS fg 1% bg 9% AO@29C GPU@31.5C PMIC@100C AUX@30C "
    "CPU@33.5C thermal@31.35C VDD_IN 6140/5510 VDD_CPU_GPU_CV 2706/2119 VDD_SOC 1074/1051"
)
TX2_4 = (
    "RAM 3276/7859MB (lfb 5x4MB) SWAP 1626/12122MB (cached 181MB) CPU [44%@1421,49%@2031,67%@2034,17%@1420,25%@1419,"
    "8%@1420] EMC_FREQ 1%@1866 GR3D_FREQ 0%@114 APE 150 MTS fg 1% bg 1% PLL@42.5C MCPU@42.5C PMIC@50C Tboard@38C "
    "GPU@39.5C BCPU@42.5C thermal@41.3C Tdiode@39.25C VDD_SYS_GPU 182/182 VDD_SYS_SOC 730/730 VDD_4V0_WIFI 0/0 "
    "VDD_IN 5297/5297 VDD_SYS_CPU 1917/1917 VDD_SYS_DDR 1241/1241"
)
XAVIER_NX_512 = (
    "07-09-2024 13:31:31 RAM 3168/6851MB (lfb 2x4MB) SWAP 161/3426MB (cached 0MB) CPU [23%@1397,17%@1192,16%@1190,"
    "13%@1190,23%@1190,10%@1190] EMC_FREQ 2%@204 GR3D_FREQ 0%@[114] VIC_FREQ 115 APE 150 AUX@45C CPU@46.5C "
    "thermal@45.6C AO@45C GPU@45.5C PMIC@50C VDD_IN 2763mW/2846mW VDD_CPU_GPU_CV 650mW/670mW VDD_SOC 650mW/711mW"
)
AGX_ORIN_3644 = """\
05-09-2026 18:42:06 RAM 18207/62841MB (lfb 466x4MB) SWAP 86/31420MB (cached 0MB) CPU [14%@2188,5%@2112,8%@2035,14%@2201,46%@1267,47%@1267,2%@1267,10%@1267,4%@1036,5%@1036,6%@1036,10%@1036] EMC_FREQ 3%@2133 GR3D_FREQ 0%@[0,0] NVENC 79%@166 NVDEC off NVJPG off NVJPG1 off VIC 36%@115 OFA off NVDLA0 off NVDLA1 off PVA0_FREQ off APE 174 cpu@52.562C soc2@48.437C soc0@49.093C tj@52.562C soc1@49.656C VDD_GPU_SOC 2412mW/2412mW VDD_CPU_CV 1607mW/1607mW VIN_SYS_5V0 4707mW/4707mW
05-09-2026 18:42:07 RAM 18202/62841MB (lfb 466x4MB) SWAP 86/31420MB (cached 0MB) CPU [16%@1949,6%@1761,4%@1222,4%@2201,4%@1036,33%@1036,0%@1036,40%@1036,3%@1190,46%@1190,6%@1190,2%@1190] EMC_FREQ 3%@2133 GR3D_FREQ 0%@[0,0] NVENC 78%@166 NVDEC off NVJPG off NVJPG1 off VIC 32%@115 OFA off NVDLA0 off NVDLA1 off PVA0_FREQ off APE 174 cpu@52.343C soc2@48.343C soc0@49.062C tj@52.343C soc1@49.531C VDD_GPU_SOC 2412mW/2412mW VDD_CPU_CV 1607mW/1607mW VIN_SYS_5V0 4607mW/4657mW
05-09-2026 18:42:08 RAM 18203/62841MB (lfb 466x4MB) SWAP 86/31420MB (cached 0MB) CPU [14%@729,5%@1648,4%@1645,3%@2050,3%@1113,0%@1113,0%@1113,70%@1113,4%@1651,32%@1651,3%@1651,15%@1651] EMC_FREQ 2%@2133 GR3D_FREQ 0%@[0,0] NVENC 78%@179 NVDEC off NVJPG off NVJPG1 off VIC 37%@115 OFA off NVDLA0 off NVDLA1 off PVA0_FREQ off APE 174 cpu@52.156C soc2@48.468C soc0@49.218C tj@52.156C soc1@49.625C VDD_GPU_SOC 2412mW/2412mW VDD_CPU_CV 1607mW/1607mW VIN_SYS_5V0 4707mW/4674mW
"""  # noqa: E501
THOR_384 = """\
05-17-2026 10:00:32 RAM 4208/125773MB (lfb 31x4MB) SWAP 0/2048MB (cached 0MB) CPU [1%@972,0%@972,0%@972,0%@972,1%@972,0%@972,1%@972,1%@972,0%@972,0%@972,3%@972,0%@972,0%@972,1%@972] EMC_FREQ 0%@665 GR3D_FREQ @[0,0,0] NVENC0_FREQ @0 NVENC1_FREQ @0 NVDEC0_FREQ @0 NVDEC1_FREQ @0 NVJPG0_FREQ @0 VIC off OFA_FREQ @0 PVA0_FREQ off APE 300 cpu@34.468C tj@34.5C soc012@33.781C soc345@34.5C VDD_GPU 0mW/0mW VDD_CPU_SOC_MSS 4165mW/4165mW VIN_SYS_5V0 4126mW/4126mW
05-17-2026 10:00:33 RAM 4280/125773MB (lfb 29x4MB) SWAP 0/2048MB (cached 0MB) CPU [0%@972,0%@972,0%@972,0%@972,1%@972,0%@972,1%@972,0%@972,0%@2601,17%@2601,1%@972,9%@972,0%@972,1%@972] EMC_FREQ 0%@665 GR3D_FREQ @[0,0,0] NVENC0_FREQ @0 NVENC1_FREQ @0 NVDEC0_FREQ @0 NVDEC1_FREQ @0 NVJPG0_FREQ @0 VIC off OFA_FREQ @0 PVA0_FREQ off APE 300 cpu@35.25C tj@36.031C soc012@36.062C soc345@34.5C VDD_GPU 0mW/0mW VDD_CPU_SOC_MSS 4923mW/4544mW VIN_SYS_5V0 4327mW/4227mW
05-17-2026 10:00:34 RAM 4309/125773MB (lfb 23x4MB) SWAP 0/2048MB (cached 0MB) CPU [9%@972,2%@972,1%@972,0%@972,2%@972,11%@972,9%@972,17%@972,1%@972,20%@972,2%@972,2%@972,16%@972,3%@972] EMC_FREQ 1%@665 GR3D_FREQ @[0,0,0] NVENC0_FREQ @0 NVENC1_FREQ @0 NVDEC0_FREQ @0 NVDEC1_FREQ @0 NVJPG0_FREQ @0 VIC off OFA_FREQ @0 PVA0_FREQ off APE 300 cpu@34.468C tj@34.468C soc012@33.843C soc345@34.468C VDD_GPU 0mW/0mW VDD_CPU_SOC_MSS 4544mW/4544mW VIN_SYS_5V0 4428mW/4294mW
"""  # noqa: E501


@pytest.mark.parametrize(
    ("log", "ram_mib", "input_mw", "rails", "gpu", "memory", "cpu_mhz", "cpu_c", "year"),
    [
        (NANO_461, [1923], 1750, 3, (0, 76), (0, 1600), 1224, 40, None),
        (XAVIER_NX_4, [5246], 6140, 3, (0, 1109), (2, 1600), 1420, 33.5, None),
        (TX2_4, [3276], 5297, 6, (0, 114), (1, 1866), 2034, None, None),
        (XAVIER_NX_512, [3168], 2763, 3, (0, 114), (2, 204), 1397, 46.5, 2024),
        (AGX_ORIN_3644, [18207, 18202, 18203], None, 3, (0, 0), (3, 2133), 2201, 52.562, 2026),
        (THOR_384, [4208, 4280, 4309], None, 3, (None, 0), (0, 665), 972, 34.468, 2026),
    ],
    ids=["4-nano", "4-xavier-nx", "4-tx2", "5-xavier-nx", "6-agx-orin", "7-thor"],
)
def test_the_log_of_each_jetpack_is_read(
    log: str,
    ram_mib: list[int],
    input_mw: int | None,
    rails: int,
    gpu: tuple[int | None, int],
    memory: tuple[int, int],
    cpu_mhz: int,
    cpu_c: float | None,
    year: int | None,
) -> None:
    samples = list(parse_log(log.splitlines()))
    first = samples[0]
    assert [s.ram_used_mib for s in samples] == ram_mib
    assert (first.input_mw, len(first.power_mw)) == (input_mw, rails)
    assert (first.gpu_percent, first.gpu_mhz) == gpu
    assert (first.memory_percent, first.memory_mhz) == memory
    assert (first.cpu_mhz, first.temperature_c.get("cpu")) == (cpu_mhz, cpu_c)
    assert (first.time.year if first.time else None) == year


def test_mean_power_of_a_log_is_what_the_board_says() -> None:
    samples: list[Sample] = list(parse_log(THOR_384.splitlines()))
    mean = sum(s.power_mw["VDD_CPU_SOC_MSS"] for s in samples) // len(samples)
    assert mean == samples[-1].average_power_mw["VDD_CPU_SOC_MSS"] == 4544
