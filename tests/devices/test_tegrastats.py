"""A line of each generation of JetPack, composed in the forms that NVIDIA documents and boards were seen to write.

JetPack 4: AppendixTegraStats of L4T 32.5, rails of the Nano, Xavier and TX2 as in published listings.
JetPack 5, 6: developer guides r35, r36. JetPack 7: listings of an AGX Orin (R39.2) and a Thor (R38).
"""

from __future__ import annotations

from datetime import datetime

import pytest
from colora.devices.tegrastats import Sample, parse_line, parse_log
from hypothesis import given, settings
from hypothesis import strategies as st

NANO_4 = (
    "RAM 1213/3964MB (lfb 231x4MB) SWAP 12/1982MB (cached 1MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [22%@1479,off,8%@1479,0%@1479] EMC_FREQ 31%@1600 GR3D_FREQ 97%@921 APE 25 PLL@38C CPU@41.5C PMIC@100C "
    "GPU@40C AO@46.5C thermal@40.75C POM_5V_IN 7254/4012 POM_5V_GPU 3120/1203 POM_5V_CPU 1105/811"
)
XAVIER_4 = (
    "RAM 3210/15823MB (lfb 2702x4MB) SWAP 0/7911MB (cached 0MB) CPU [31%@2265,2%@2265,0%@2265,0%@2265] EMC_FREQ 9% "
    "GR3D_FREQ 66% AO@27.5C GPU@30C iwlwifi@33C Tdiode@31.25C PMIC@100C AUX@27.5C CPU@29C thermal@28.55C "
    "Tboard@28C GPU 9155/4155 CPU 1385/985 SOC 2504/2503 CV 0/0 VDDRQ 1192/592 SYS5V 2692/2692"
)
AGX_ORIN_5 = (
    "10-13-2023 12:00:00 RAM 4023/30536MB (lfb 5555x4MB) SWAP 0/15268MB (cached 0MB) CPU [3%@1190,0%@1190,off,off] "
    "EMC_FREQ 1%@3199 GR3D_FREQ 45%@[1300,1300] VIC_FREQ 729 APE 174 CV0@-256C CPU@45.5C Tboard@33C SOC2@41C "
    "Tdiode@34.75C GPU@42.5C tj@45.5C VDD_GPU_SOC 13188mW/6188mW VDD_CPU_CV 1195mW/1195mW VIN_SYS_5V0 5229mW/4229mW "
    "NC 0mW/0mW VDDQ_VDD2_1V8AO 1412mW/912mW"
)
ORIN_NANO_6 = (
    "01-09-2025 10:29:36 RAM 2147/7620MB (lfb 2x4MB) SWAP 1476/3810MB (cached 1MB) "
    "CPU [5%@1728,0%@1728,0%@1728,2%@1728,0%@1728,0%@1728] EMC_FREQ 12%@3199 GR3D_FREQ 88%@[1007] "
    "NVDEC off NVJPG off VIC off OFA off APE 200 cpu@49.687C soc2@48.718C soc0@48.468C gpu@50.625C tj@50.625C "
    "soc1@49.25C VDD_IN 14556mW/9556mW VDD_CPU_GPU_CV 7483mW/3483mW VDD_SOC 2451mW/1951mW"
)
ORIN_NANO_6_NO_ROOT = (
    "01-09-2025 10:29:37 RAM 2147/7620MB (lfb 2x4MB) SWAP 0/3810MB (cached 0MB) CPU [5%@1728,0%@1728] "
    "GR3D_FREQ 88% cpu@49.687C tj@50.625C VDD_IN 14556mW/9556mW"
)
AGX_ORIN_7 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,10%@2201] EMC_FREQ 3%@3199 "
    "GR3D_FREQ 12%@[1300,1299] NVENC0 off NVDEC0 off VIC off OFA off NVDLA0 off PVA0_FREQ off APE 174 "
    "cpu@52.968C/53.968C soc2@48.406C/48.406C gpu@47.625C/47.625C VDD_GPU_SOC 5139mW/4139mW/6139mW "
    "VDD_CPU_CV 3268mW/3268mW/3268mW VIN_SYS_5V0 5500mW/5400mW/5600mW"
)
THOR_7 = (
    "RAM 4722/125771MB (lfb 1x512kB) EMC_FREQ 2%@4266 GR3D_FREQ @[1000,1002,1000] APE 150 gpu@41C "
    "VDD_GPU 900mW/800mW"
)


def parsed(line: str) -> Sample:
    sample = parse_line(line)
    assert sample is not None
    return sample


@pytest.mark.parametrize(
    ("line", "ram", "gpu", "emc", "input_mw", "cpu_c"),
    [
        (NANO_4, (1213, 3964), (97, 921), (31, 1600), 7254, 41.5),
        (XAVIER_4, (3210, 15823), (66, None), (9, None), None, 29),
        (AGX_ORIN_5, (4023, 30536), (45, 1300), (1, 3199), None, 45.5),
        (ORIN_NANO_6, (2147, 7620), (88, 1007), (12, 3199), 14556, 49.687),
        (ORIN_NANO_6_NO_ROOT, (2147, 7620), (88, None), (None, None), 14556, 49.687),
        (AGX_ORIN_7, (20642, 62817), (12, 1300), (3, 3199), None, 52.968),
        (THOR_7, (4722, 125771), (None, 1002), (2, 4266), None, None),
    ],
    ids=["4-nano", "4-xavier", "5-agx", "6-nano", "6-no-root", "7-agx", "7-thor"],
)
def test_each_generation_is_read(
    line: str,
    ram: tuple[int, int],
    gpu: tuple[int | None, int | None],
    emc: tuple[int | None, int | None],
    input_mw: int | None,
    cpu_c: float | None,
) -> None:
    s = parsed(line)
    assert (s.ram_used_mib, s.ram_total_mib) == ram
    assert (s.gpu_percent, s.gpu_mhz) == gpu
    assert (s.memory_percent, s.memory_mhz) == emc
    assert s.input_mw == input_mw
    assert s.temperature_c.get("cpu") == cpu_c


def test_rails_are_read_by_name_now_and_on_average() -> None:
    assert parsed(NANO_4).power_mw == {"POM_5V_IN": 7254, "POM_5V_GPU": 3120, "POM_5V_CPU": 1105}
    assert parsed(NANO_4).average_power_mw == {"POM_5V_IN": 4012, "POM_5V_GPU": 1203, "POM_5V_CPU": 811}
    rails = {"GPU": 9155, "CPU": 1385, "SOC": 2504, "CV": 0, "VDDRQ": 1192, "SYS5V": 2692}
    assert parsed(XAVIER_4).power_mw == rails
    assert set(parsed(AGX_ORIN_5).power_mw) == {
        *("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "NC", "VDDQ_VDD2_1V8AO"),
    }
    assert parsed(AGX_ORIN_7).power_mw["VDD_GPU_SOC"] == 5139
    assert parsed(AGX_ORIN_7).average_power_mw["VDD_GPU_SOC"] == 4139


def test_sensors_without_power_are_left_out() -> None:
    assert set(parsed(AGX_ORIN_5).temperature_c) == {"cpu", "tboard", "soc2", "tdiode", "gpu", "tj"}


def test_cores_that_are_off_are_none() -> None:
    assert parsed(NANO_4).cpu_percent == (22, None, 8, 0)


def test_time_is_read_where_there_is_one() -> None:
    assert parsed(NANO_4).time is None
    assert parsed(ORIN_NANO_6).time == datetime(2025, 1, 9, 10, 29, 36)


def test_a_log_passes_over_what_is_no_sample() -> None:
    log = ["tegrastats: permission denied", "", NANO_4, "01-09-2025 10:29:36 RA", ORIN_NANO_6]
    assert [s.ram_total_mib for s in parse_log(log)] == [3964, 7620]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, len(AGX_ORIN_7)))
def test_a_line_cut_off_anywhere_never_fails(length: int) -> None:
    sample = parse_line(AGX_ORIN_7[:length])
    assert sample is None or sample.ram_used_mib == 20642
