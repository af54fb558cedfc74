"""What a cluster is asked for and held to before a run is sent: an answer, room, versions, images, weights."""

import socket
import time
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from unittest import mock

import pytest

from arlrepro.errors import ConfigError
from arlrepro.profiles import SMOKE
from arlrepro.runs.cluster import nodes
from arlrepro.runs.cluster.engine import RayEngine
from arlrepro.runs.cluster.nodes import Parcel, Resources, Supplies
from helpers.ray_matrix import SMALL, a_matrix, make_at_once

ray = pytest.importorskip("ray", reason="ray is not installed: pip install arlrepro[cluster]")
from ray.cluster_utils import Cluster  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # Ray's own
]


@contextmanager
def a_socket(*, listening: bool):
    """A port of this machine that is taken, and where nothing is ever said."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if listening:
            taken.listen(8)
        yield taken.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def cluster(place):
    """A head that computes nothing, a node with two CPUs, and one with a CPU and a GPU, which Ray takes on trust."""
    with a_socket(listening=False) as client_port:
        pass
    with pytest.MonkeyPatch.context() as patch:
        head = {"num_cpus": 0, "ray_client_server_port": client_port, **SMALL}
        started = Cluster(initialize_head=True, head_node_args=head)
        started.add_node(num_cpus=2, **SMALL)
        started.add_node(num_cpus=1, num_gpus=1, **SMALL)
        started.client_address = f"ray://127.0.0.1:{client_port}"
        while not listens(client_port):
            time.sleep(0.1)
        patch.setenv("RAY_ADDRESS", started.address)
        yield started
        started.shutdown()


@pytest.mark.parametrize("asked", [{"gpus_per_run": 2.0}, {"cpus_per_run": 2.0, "gpus_per_run": 1.0}])
def test_a_run_that_no_node_has_room_for_is_refused_at_once(cluster, tmp_path, asked):
    resources = Resources("auto", **asked)
    with pytest.raises(ConfigError) as caught:
        RayEngine(resources)(a_matrix(tmp_path, device="auto"))
    assert str(caught.value) == (
        f"--cpus-per-run {resources.cpus_per_run:g} --gpus-per-run {resources.gpus_per_run:g}: none of 3 nodes has so "
        "much (0 CPUs and 0 GPUs, 1 CPUs and 1 GPUs, 2 CPUs and 0 GPUs); ask for less, or start a node that has it"
    )


def test_runs_share_a_gpu_by_halves_on_the_node_that_has_it(cluster, tmp_path):
    def make(_job, _experiment, _seed, _attempt, _log):
        began = time.time()
        time.sleep(2)
        context = ray.get_runtime_context()
        told = [context.get_node_id(), *context.get_accelerator_ids()["GPU"], str(began), str(time.time())]
        return {"told.txt": " ".join(told).encode()}

    RayEngine(Resources("auto", cpus_per_run=0.5, gpus_per_run=0.5), make=make)(a_matrix(tmp_path, device="auto"))
    told = [path.read_text().split() for path in tmp_path.glob("*/told.txt")]
    assert len(told) == 4
    assert len({node for node, *_ in told}) == 1
    assert [gpu for _, gpu, *_ in told] == ["0"] * 4
    for began in (float(one[2]) for one in told):
        assert sum(float(other[2]) <= began < float(other[3]) for other in told) <= 2


def test_another_version_on_a_node_is_refused_with_both(cluster, tmp_path, monkeypatch):
    for package in ("arlrepro", "torch"):
        monkeypatch.setattr(nodes, "version", lambda name, ours=package: "0.0" if name == ours else version(name))
        both = rf"^node \S+ has {package} {version(package)}.*, here it is 0\.0.*; install the same on both$"
        with pytest.raises(ConfigError, match=both):
            RayEngine(Resources("auto"))(a_matrix(tmp_path))


def test_an_address_where_nothing_listens_is_said(monkeypatch):
    with a_socket(listening=False) as port:
        for on, address, what in (
            (f"ray://127.0.0.1:{port}", None, "is the cluster up, and the port of its Ray client server"),
            ("auto", f"127.0.0.1:{port}", "start one with `ray start --head`"),
        ):
            if address:
                monkeypatch.setenv("RAY_ADDRESS", address)
            told = rf"^--on {on}: no cluster answers at .*127\.0\.0\.1:{port} \(.*refused\); {what}"
            with pytest.raises(ConfigError, match=told), nodes.connected(on):
                pass


def test_an_address_that_does_not_answer_is_said_within_ten_seconds(cluster):
    began = time.monotonic()
    with a_socket(listening=True) as port:
        on = f"ray://127.0.0.1:{port}"
        with pytest.raises(ConfigError, match=f"^--on {on}: no cluster answers at {on} "), nodes.connected(on):
            pass
    assert time.monotonic() - began < nodes.ANSWER + 5  # of which Ray's client waits nine


def test_an_address_that_is_not_of_the_client_server_is_said(cluster):
    on = f"ray://{cluster.address}"
    with (
        pytest.raises(ConfigError, match=r"port of its Ray client server, by default 10001, open"),
        nodes.connected(on),
    ):
        pass


def test_a_matrix_is_made_over_the_ray_client(cluster, tmp_path):
    RayEngine(Resources(cluster.client_address), make=make_at_once())(a_matrix(tmp_path))
    assert len(list(tmp_path.glob("*/made.txt"))) == 4


def test_a_node_that_does_not_see_the_heads_disk_fetches_its_files_once(cluster, tmp_path, monkeypatch):
    (tmp_path / "one").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "two").write_bytes(b"two")
    monkeypatch.setattr(nodes, "PIECE", 1000)
    with nodes.connected("auto"):
        parcel = nodes.pack(ray, "fetched", [tmp_path / "one", tmp_path / "two"], Resources("auto"))
        assert [name for name, _ in parcel.pieces] == ["one", "one", "one", "two"]

        def fetch(parcel):
            folder = parcel.fetch()
            return folder, {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}

        answers = ray.get([ray.remote(fetch).remote(parcel) for _ in range(3)])
    assert answers[0] == answers[1] == answers[2]
    assert {name: content for name, (content, _) in answers[0][1].items()} == {
        "one": bytes(range(256)) * 10,
        "two": b"two",
    }


@pytest.mark.parametrize("damaged", [False, True])
def test_weights_that_a_node_lacks_come_from_the_head_and_are_known_by_their_bytes(
    cluster, place, tmp_path, monkeypatch, damaged
):
    pretrained = pytest.importorskip("arlrepro.models.pretrained")
    named = pretrained.PRETRAINED["imagenet-lite0"]
    at_head = pretrained.locate(named.name)
    if damaged:
        at_head = tmp_path / at_head.name
        at_head.write_bytes(b"something else")

    def open_there(parcel):
        from arlrepro.models import pretrained

        network = replace(SMOKE.experiment.network, name="efficientnet_lite0", weights=named.name)
        supplies = Supplies(None, None, {named.name: parcel}, "cpu", 1, False)
        with (
            mock.patch.object(pretrained, "_in_package", return_value=[]),  # the package is not installed there
            mock.patch.object(Supplies, "_images"),
            mock.patch("arlrepro.data.datasets.DataModule"),
            mock.patch.dict("os.environ"),
        ):
            supplies.open(replace(SMOKE.experiment, network=network))
            return pretrained.locate(named.name)

    with nodes.connected("auto"):
        parcel = nodes.pack(ray, f"weights-{damaged}", [at_head], Resources("auto"))
        answer = ray.remote(open_there).remote(replace(parcel, folder=tmp_path / "of the head alone"))
        if damaged:
            with pytest.raises(ConfigError, match="its SHA-256 is"):
                ray.get(answer)
        else:
            found = ray.get(answer)
            assert found == place / "cache" / "weights-False" / at_head.name
            assert found.read_bytes() == at_head.read_bytes()


def test_on_one_machine_nothing_is_fetched(tmp_path):
    assert Parcel(tmp_path, "anything", ()).fetch() == tmp_path
