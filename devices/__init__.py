"""Facts about the machines bundles are exported for. Standard library only."""

from colora.devices.catalogue import ALIASES, DEVICES, find_device
from colora.devices.device import Device, JetPack

__all__ = ["ALIASES", "DEVICES", "Device", "JetPack", "find_device"]
