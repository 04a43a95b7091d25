"""Site profiles: what is particular to a cluster, in files and not in programs.

::

    from exaworks.core.sites import get_site

    profile = get_site("perlmutter")
    profile.scheduler().queues["regular"].max_walltime

``docs/sites.md`` describes the files. Profiles are read when they are asked for, not on import.
"""

from exaworks.core.sites.loading import SiteError, Sites, get_site, load_sites, user_folder
from exaworks.core.sites.model import NodeType, Queue, Scheduler, SiteProfile, SshAddress

__all__ = [
    "NodeType",
    "Queue",
    "Scheduler",
    "SiteError",
    "SiteProfile",
    "Sites",
    "SshAddress",
    "get_site",
    "load_sites",
    "user_folder",
]
