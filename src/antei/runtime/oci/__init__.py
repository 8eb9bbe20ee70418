"""Real containers of real images: runc under conmon, which outlive antei."""

from antei.runtime.oci.driver import OciRuntime
from antei.runtime.oci.machine import Machine, detect_machine

__all__ = ["Machine", "OciRuntime", "detect_machine"]
