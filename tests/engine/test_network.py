"""The bridge's options and pool."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from broker.engine.network import bridge_options, pool, uplink_mtu

ROUTES = """Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
wg0\t00000000\t010200C0\t0003\t0\t0\t0\t00000080\t0\t0\t0
eth7\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
"""


@pytest.fixture
def host(tmp_path):
    routes = tmp_path / "route"
    routes.write_text(ROUTES)
    (tmp_path / "net" / "eth7").mkdir(parents=True)
    (tmp_path / "net" / "eth7" / "mtu").write_text("1400\n")
    return tmp_path


def test_the_mtu_is_that_of_the_way_out(host):
    assert uplink_mtu(host / "route", host / "net") == 1400


def test_without_a_way_out_there_is_no_mtu(host):
    (host / "route").write_text(ROUTES.rsplit("eth7", 1)[0])
    assert uplink_mtu(host / "route", host / "net") is None
    assert uplink_mtu(host / "nothing", host / "net") is None


@pytest.mark.parametrize(
    ("mtu", "told"), [(1400, "1400"), (1500, None), (9000, None), (None, None)]
)
def test_only_a_narrow_way_out_narrows_the_bridge(mtu, told):
    options = bridge_options("desk0", mtu)
    assert options.get("com.docker.network.driver.mtu") == told
    assert options["com.docker.network.bridge.enable_icc"] == "false"


@pytest.mark.parametrize(
    ("subnet", "corner"),
    [
        ("10.213.0.0/20", "10.213.15.240/28"),
        ("10.213.4.0/22", "10.213.7.240/28"),
        ("10.213.0.0/28", "10.213.0.0/28"),
        ("10.213.0.8/29", "10.213.0.8/29"),
    ],
)
def test_strays_get_the_last_corner_alone(subnet, corner):
    made = pool(IPv4Network(subnet))
    assert made["IPRange"] == corner
    assert made["Gateway"] == str(IPv4Network(subnet)[1])
