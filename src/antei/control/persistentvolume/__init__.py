"""PersistentVolumes and the claims to them: who is bound to whom, what is made on demand, what becomes of the rest."""

from antei.control.persistentvolume.controller import PersistentVolumeController
from antei.control.persistentvolume.directories import Directories, HostDirectories, ImaginaryDirectories
from antei.control.persistentvolume.protection import VolumeProtectionController
from antei.control.persistentvolume.provision import PROVISIONER

__all__ = [
    "PROVISIONER",
    "Directories",
    "HostDirectories",
    "ImaginaryDirectories",
    "PersistentVolumeController",
    "VolumeProtectionController",
]
