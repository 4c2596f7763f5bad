"""How `make test` shares the tests among processes."""

from xdist.scheduler import LoadFileScheduling

WITH_CLUSTERS_OF_THEIR_OWN = ("e2e/test_demo.py", "e2e/test_helm.py")


class FilesAndOneRealCluster(LoadFileScheduling):
    """A file stays in one process, with all that its fixtures set up; and so do all tests on the one real cluster."""

    def _split_scope(self, nodeid: str) -> str:
        path = super()._split_scope(nodeid)
        return "e2e" if path.startswith("e2e/") and path not in WITH_CLUSTERS_OF_THEIR_OWN else path
