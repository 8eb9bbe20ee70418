"""Clusters for tests: started in a thread of their own in a few hundredths of a second, and gone without a trace.

    with start_cluster(nodes=2) as cluster:
        cluster.apply("deployment.yaml")
        pods = list(cluster.client().list(Pod))

`antei.pytest_plugin` makes fixtures of it; anything else that tests can use it as it is.
"""

from antei.testing.cluster import AnteiCluster, start_cluster
from antei.testing.options import Options
from antei.testing.virtual import VirtualCluster

__all__ = ["AnteiCluster", "Options", "VirtualCluster", "start_cluster"]
