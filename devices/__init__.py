"""Facts about the machines bundles are exported for. Standard library only."""

from colora.devices.catalogue import ALIASES, DEVICES, find_device
from colora.devices.device import Device, PowerMode
from colora.devices.jetpack import JETPACKS, JetPack, find_jetpack

__all__ = ["ALIASES", "DEVICES", "JETPACKS", "Device", "JetPack", "PowerMode", "find_device", "find_jetpack"]
