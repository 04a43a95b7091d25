"""What Slurm's words for why a job waits or has ended mean, and what can be done.

The words are those of squeue(1), "JOB REASON CODES", and of Slurm's table of job states; what
they mean is said in our own words.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["Meaning", "meaning"]


class Meaning(NamedTuple):
    """What a word means, and what to try; ``advice`` may be empty."""

    text: str
    advice: str


_WAIT: Final = "Wait; or ask for less (fewer nodes, less time), which fits into gaps sooner."
_ADMIN: Final = "Ask the administrators of the cluster."
_RELEASE: Final = "`exaworks release` lets it start."
_RESUBMIT: Final = "It will never start like this: cancel it and submit it with other values."

_EXACT: Final[dict[str, Meaning]] = {
    "None": Meaning("The scheduler has not looked at the job yet.", "Wait a moment."),
    "Priority": Meaning("Jobs with a higher priority are before it in the queue.", _WAIT),
    "Resources": Meaning(
        "It is next in line, but the resources it asks for are in use by other jobs.", _WAIT
    ),
    "Dependency": Meaning("It waits for another job to end or to start.", "Look at that job."),
    "DependencyNeverSatisfied": Meaning(
        "It waits for another job that has ended differently than it demands.",
        _RESUBMIT,
    ),
    "BeginTime": Meaning(
        "It may not start before a certain time, or was put back into the queue and is held "
        "back for a moment.",
        "Wait; `scontrol show job` tells the time (StartTime).",
    ),
    "JobHeldUser": Meaning("Its user (or somebody in their name) holds it.", _RELEASE),
    "JobHeldAdmin": Meaning("An administrator holds it.", _ADMIN),
    "JobHoldMaxRequeue": Meaning(
        "It was put back into the queue so often that it is held now.",
        f"Find out why it does not run (`scontrol show job`); then {_RELEASE[0].lower()}"
        f"{_RELEASE[1:]}",
    ),
    "launch failed requeued held": Meaning(
        "Its start failed on the node, so it was put back into the queue and is held.",
        f"The node may be broken. {_RELEASE}",
    ),
    "ReqNodeNotAvail": Meaning(
        "Nodes that it needs are down, drained, or reserved (often for maintenance).",
        "Look at the nodes with `sinfo -R`, at reservations with `scontrol show reservation`; "
        "a shorter --time may end before the reservation begins.",
    ),
    "NodeDown": Meaning("A node that it needs is down.", "Wait, or ask for other nodes."),
    "BadConstraints": Meaning(
        "No set of nodes can ever give what it asks for.",
        f"Check constraint, memory, cores and GPUs against `sinfo -N -l`. {_RESUBMIT}",
    ),
    "PartitionDown": Meaning(
        "The queue (partition) starts no jobs at present.",
        "Wait until it is opened, or use another --queue; `sinfo` lists them.",
    ),
    "PartitionInactive": Meaning(
        "The queue (partition) is switched off.",
        "Use another --queue; `sinfo` lists them.",
    ),
    "PartitionNodeLimit": Meaning(
        "It asks for more (or fewer) nodes than its queue allows or has.",
        f"Check --nodes against `scontrol show partition`. {_RESUBMIT}",
    ),
    "PartitionTimeLimit": Meaning(
        "It asks for more time than its queue allows.",
        f"`sinfo` shows the limits. {_RESUBMIT}",
    ),
    "PartitionConfig": Meaning(
        "Its queue cannot run such a job: nodes, accounts or shapes of jobs do not fit.",
        f"Check with `scontrol show partition`. {_RESUBMIT}",
    ),
    "AccountNotAllowed": Meaning(
        "Its account may not use this queue.", "Give another --account or --queue."
    ),
    "InvalidAccount": Meaning("Slurm does not know its account.", "Give another --account."),
    "InvalidQOS": Meaning("Slurm does not know its QOS.", "Give another --attr qos=..."),
    "QOSNotAllowed": Meaning(
        "Its QOS may not be used with this account or queue.", "Give another --attr qos=..."
    ),
    "Reservation": Meaning("It waits for its reservation to begin.", "Wait."),
    "ReservationDeleted": Meaning(
        "Its reservation does not exist any more.", "Submit it with another one, or without."
    ),
    "Licenses": Meaning("It waits for software licences in use by other jobs.", "Wait."),
    "JobArrayTaskLimit": Meaning(
        "As many elements of its array run as may run at once.", "Wait for others to end."
    ),
    "Prolog": Meaning("The nodes are being prepared for it.", "Wait a moment."),
    "Cleaning": Meaning("It was put back into the queue and is being cleaned up.", "Wait."),
    "DeadLine": Meaning(
        "It could not end before its deadline any more.", "Submit it with a later deadline."
    ),
    "AccountingPolicy": Meaning("A limit of its account is reached.", _WAIT),
    "InactiveLimit": Meaning(
        "It was ended because nothing was started in it for too long.",
        "Start the work at once, or ask the administrators about InactiveLimit.",
    ),
    "JobLaunchFailure": Meaning(
        "It could not be started on the node: its directory, output file or user may not be "
        "usable there.",
        "See that --directory and --stdout are on a file system that the nodes share.",
    ),
    "NonZeroExitCode": Meaning("Its program ended with an exit code other than zero.", ""),
    "RaisedSignal": Meaning("Its program was ended by a signal.", ""),
    "TimeLimit": Meaning("It ran longer than its walltime.", "Give more --time."),
    "OutOfMemory": Meaning("It used more memory than it asked for.", "Give more --memory."),
    "SystemFailure": Meaning("Slurm itself, a node or a file system failed.", _ADMIN),
    "FrontEndDown": Meaning("The machine that would start it is down.", _ADMIN),
    "MaxMemPerLimit": Meaning("It asks for more memory than allowed.", _RESUBMIT),
    "BurstBufferResources": Meaning("It waits for space in the burst buffer.", "Wait."),
    "BurstBufferStageIn": Meaning("Its data are being brought into the burst buffer.", "Wait."),
    "BurstBufferOperation": Meaning("The burst buffer reported a failure.", _ADMIN),
}

_RESOURCE: Final = (
    (r"CPURunMin|CpuRunMin", "CPU minutes of running jobs"),
    (r"C(?:PU|pu)Min", "CPU minutes"),
    (r"C(?:PU|pu)", "CPUs"),
    (r"GRES|Gres", "GPUs or other generic resources"),
    (r"Mem", "memory"),
    (r"Node", "nodes"),
    (r"Submit", "submitted jobs"),
    (r"Jobs?(?![a-z])", "jobs that run at once"),
    (r"Wall|Time", "walltime"),
    (r"BB", "burst buffer"),
    (r"Billing", "billing units"),
    (r"Energy", "energy"),
    (r"Lic", "licences"),
)


def meaning(reason: str) -> Meaning | None:
    """What a reason of Slurm means.

    Args:
        reason: as ``squeue`` or ``scontrol`` print it, with or without parentheses; what follows
            a comma (such as a list of nodes) is no part of the word.

    Returns:
        ``None`` for a word that we do not know.
    """
    text = reason.strip().strip("()").strip()
    if text in _EXACT:
        return _EXACT[text]
    word = re.split(r"[,\s(]", text.replace("_", ""), maxsplit=1)[0]
    if word in _EXACT:
        return _EXACT[word]
    return _limit(word)


def _limit(word: str) -> Meaning | None:
    """The meaning of names such as ``QOSMaxCpuPerUserLimit`` and ``AssocGrpNodeLimit``."""
    match = re.fullmatch(r"(QOS|Assoc(?:iation)?)(Grp|Max|Min)?(\w*)", word)
    if match is None:
        return None
    owner = "quality of service (QOS)" if match[1] == "QOS" else "account"
    what = next((name for pattern, name in _RESOURCE if re.search(pattern, match[3])), "resources")
    if "PerJob" in match[3] or "PerNode" in match[3]:
        return Meaning(f"It asks for more {what} than its {owner} allows one job.", _RESUBMIT)
    if match[2] == "Min":
        return Meaning(f"It asks for less {what} than its {owner} demands.", _RESUBMIT)
    if match[2] == "Max":
        whose = "account" if "PerAccount" in match[3] or "PA" in match[3] else "user"
        return Meaning(
            f"The jobs of this {whose} use as much as its {owner} allows ({what}).",
            "Wait for other jobs of yours to end, or use another --account or --attr qos=...",
        )
    return Meaning(
        f"All jobs of its {owner} together use as much as is allowed ({what}).",
        "Wait for jobs of your group to end, or use another --account or --attr qos=...",
    )
