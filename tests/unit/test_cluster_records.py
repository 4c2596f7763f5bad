"""What is written down of a cluster: it reads back as it was, and ports never meet."""

import stat
from pathlib import Path

import pytest
import yaml

from taskjob_cluster import ClusterError, Provider, records
from taskjob_cluster.credentials import ensure_token, write_kubeconfig
from taskjob_cluster.paths import cluster_directory
from taskjob_cluster.processes import ProcessId
from taskjob_cluster.records import Options, Record, Running, assign_ports


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TASKJOBS_STATE_DIR", str(tmp_path))
    return tmp_path


def test_a_record_reads_back_as_it_was_written() -> None:
    record = Record(
        "mine",
        Options(Provider.KWOK, audit=True, kwok_nodes=3),
        ports={"etcd": 20001},
        components={"etcd": Running(ProcessId(42, "boot:7"), ["/bin/etcd", "--x"])},
        kubeconfig="/somewhere",
    )
    record.save()
    assert records.load("mine") == record
    assert records.names() == ["mine"]


def test_a_cluster_that_never_was_has_no_record() -> None:
    assert records.load("nobody") is None


def test_a_damaged_record_says_where_it_is(state: Path) -> None:
    place = state / "clusters" / "bad" / "cluster.json"
    place.parent.mkdir(parents=True)
    place.write_text('{"format": 1, "name": "bad"}')
    with pytest.raises(ClusterError, match=str(place)):
        records.load("bad")


@pytest.mark.parametrize("name", ["", "..", "a/b", "-a", "a-", "UPPER", "x" * 41, "a b"])
def test_a_name_that_could_leave_the_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cluster name"):
        cluster_directory(name)


def test_clusters_side_by_side_never_share_a_port() -> None:
    purposes = [f"purpose-{number}" for number in range(40)]
    ports: list[int] = []
    for name in ("one", "two", "three"):
        record = Record(name, Options(Provider.KWOK))
        assign_ports(record, purposes)
        ports += record.ports.values()
    assert len(set(ports)) == 120


def test_a_cluster_keeps_its_ports() -> None:
    record = Record("mine", Options(Provider.KWOK))
    assign_ports(record, ["a"])
    before = dict(record.ports)
    assign_ports(record, ["a", "b"])
    assert record.ports["a"] == before["a"]
    assert set(record.ports) == {"a", "b"}


def test_the_kubeconfig_stands_alone_and_is_its_owners(tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_text("a certificate")
    place = tmp_path / "kubeconfig"
    write_kubeconfig(place, name="mine", server="https://127.0.0.1:1", token="secret", ca_file=authority)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    found = yaml.safe_load(place.read_text())
    assert found["current-context"] == "taskjobs-mine"
    assert found["clusters"][0]["cluster"]["certificate-authority-data"] == "YSBjZXJ0aWZpY2F0ZQ=="
    assert found["users"][0]["user"] == {"token": "secret"}


def test_the_token_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    token = ensure_token(tmp_path)
    assert ensure_token(tmp_path) == token
    for name in ("token", "tokens.csv"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
