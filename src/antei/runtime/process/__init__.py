"""Host commands as containers: nothing to install but pip, no image to build, no registry to reach."""

from antei.runtime.process.capabilities import Capabilities, detect, find_bubblewrap
from antei.runtime.process.driver import ProcessRuntime

__all__ = ["Capabilities", "ProcessRuntime", "detect", "find_bubblewrap"]
