"""The load of a rehearsal: an open-loop client that accounts for every request.

`spec` says what is asked of whom, `client` when; `http1`, `grpc` and `tcp` how; `outcomes` what became of it; `ports`
keeps client ports apart that nobody answered; `log` keeps the requests and `accounting` counts it.
"""

from antei.rehearse.load.client import LoadClient
from antei.rehearse.load.exchange import Attribution
from antei.rehearse.load.log import RequestLog
from antei.rehearse.load.ports import UnansweredPorts
from antei.rehearse.load.spec import (
    Kind,
    LoadSpec,
    Resend,
    ServedBy,
    Target,
    Via,
    target_of_service,
    target_of_url,
)

__all__ = [
    "Attribution",
    "Kind",
    "LoadClient",
    "LoadSpec",
    "RequestLog",
    "Resend",
    "ServedBy",
    "Target",
    "UnansweredPorts",
    "Via",
    "target_of_service",
    "target_of_url",
]
