from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.model import (
    Desktop,
    DesktopId,
    InstanceId,
    Session,
    SessionId,
    SessionState,
    Template,
    UserId,
)
from broker.core.spec import (
    LABEL_SPEC,
    ContainerSpec,
    SessionFiles,
    bridge_name,
    container_name,
    container_spec,
    home_volume,
    network_name,
    with_hash,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FILES = SessionFiles(directory=PurePosixPath("/run/desk/sessions/5e"))
TARGETS = ("/etc/desk/host_key", "/etc/desk/authorized_keys", "/etc/passwd", "/etc/group")

ids = st.text("0123456789abcdef", min_size=16, max_size=16)
anything = st.text()

sessions = st.builds(
    Session,
    id=ids.map(SessionId),
    desktop_id=ids.map(DesktopId),
    state=st.sampled_from(SessionState),
    host=anything,
    image=anything,
    port=st.integers(1, 65535),
    display=st.integers(1000, 65535),
    address=st.ip_addresses(v=4).map(str),
    deadline=st.none(),
    kept_until=st.none(),
    reason=st.none() | anything,
    created_at=st.just(NOW),
    changed_at=st.just(NOW),
)
desktops = st.builds(
    Desktop,
    id=ids.map(DesktopId),
    user_id=ids.map(UserId),
    name=anything,
    template=anything,
    uid=st.integers(100_000, 2**31),
    created_at=st.just(NOW),
    home_made_at=st.none(),
    removed_at=st.none(),
)
templates = st.builds(
    Template,
    name=anything,
    image=anything,
    memory=st.integers(1, 2**40),
    cpus=st.floats(0.1, 64),
    pids=st.integers(1, 10**6),
    shm=st.integers(1, 2**40),
    geometry=anything,
)
makings = st.fixed_dictionaries(
    {
        "instance": ids.map(InstanceId),
        "desktop": desktops,
        "session": sessions,
        "template": templates,
        "user": anything,
        "files": st.just(FILES),
        "resolvers": st.just(("192.0.2.1",)),
    }
)


@settings(max_examples=50)
@given(makings)
def test_no_input_mounts_more_than_the_four_files(making):
    spec = container_spec(**making)
    assert tuple(file.target for file in spec.files) == TARGETS
    assert all(PurePosixPath(file.source).parent == FILES.directory for file in spec.files)
    assert spec.home_volume == home_volume(making["desktop"].id)


@settings(max_examples=50)
@given(makings)
def test_no_input_names_another_image_uid_or_place(making):
    spec, session, desktop = container_spec(**making), making["session"], making["desktop"]
    assert spec.image == session.image
    assert (spec.name, spec.hostname, spec.uid) == (f"desk-{session.id}", desktop.id, desktop.uid)
    assert (spec.address, spec.port) == (session.address, session.port)
    assert spec.network == network_name(making["instance"])
    assert spec.resolvers == making["resolvers"]


@settings(max_examples=50)
@given(makings)
def test_the_limits_are_the_templates(making):
    spec, template = container_spec(**making), making["template"]
    assert [getattr(spec, name) for name in ("memory", "cpus", "pids", "shm")] == [
        getattr(template, name) for name in ("memory", "cpus", "pids", "shm")
    ]


@settings(max_examples=50)
@given(makings)
def test_the_environment_and_labels_have_fixed_names(making):
    spec = container_spec(**making)
    assert [name for name, _ in spec.environment] == [
        "DESK_DISPLAY",
        "DESK_GEOMETRY",
        "DESK_SESSION",
        "DESK_USER",
    ]
    labels = dict(spec.labels)
    assert set(labels) == {"desk.instance", "desk.desktop", "desk.session", "desk.spec"}
    assert labels["desk.instance"] == making["instance"]
    assert labels["desk.desktop"] == making["desktop"].id
    assert labels["desk.session"] == making["session"].id == spec.session_id


@settings(max_examples=50)
@given(makings, anything)
def test_people_are_named_in_one_variable_alone(making, user):
    one, two = container_spec(**making), container_spec(**{**making, "user": user})
    environment = {**dict(one.environment), "DESK_USER": user}
    assert two == with_hash(replace(one, environment=tuple(environment.items())))


def test_there_is_no_word_for_privilege():
    """Capabilities, devices, host namespaces and mounts of a path cannot even be said."""
    assert {field.name for field in fields(ContainerSpec)} == {
        "name",
        "image",
        "hostname",
        "uid",
        "environment",
        "files",
        "home_volume",
        "network",
        "address",
        "port",
        "resolvers",
        "memory",
        "cpus",
        "pids",
        "shm",
        "labels",
    }


@settings(max_examples=30)
@given(makings)
def test_the_hash_is_the_same_for_the_same_make(making):
    spec = container_spec(**making)
    assert container_spec(**making) == spec
    assert with_hash(spec) == spec
    assert with_hash(replace(spec, labels=tuple(reversed(spec.labels)))) == spec


@given(makings, makings)
@settings(max_examples=30)
def test_whatever_differs_shows_in_the_hash(making, other):
    spec, different = container_spec(**making), container_spec(**other)
    for field in fields(ContainerSpec):
        value = getattr(different, field.name)
        if field.name == "labels" or value == getattr(spec, field.name):
            continue
        changed = with_hash(replace(spec, **{field.name: value}))
        assert dict(changed.labels)[LABEL_SPEC] != dict(spec.labels)[LABEL_SPEC]


@pytest.mark.parametrize("lost", ["port", "display", "address"])
@settings(max_examples=5)
@given(making=makings)
def test_a_session_without_its_leases_makes_no_container(lost, making):
    making["session"] = replace(making["session"], **{lost: None})
    with pytest.raises(ValueError, match="holds no leases"):
        container_spec(**making)


@given(ids)
def test_names_are_made_of_opaque_ids(id_):
    assert container_name(id_) == f"desk-{id_}"
    assert home_volume(id_) == f"desk-home-{id_}"
    assert network_name(id_) == f"desk-{id_}"
    assert len(bridge_name(id_)) <= 15
    assert bridge_name(id_).startswith("desk")
