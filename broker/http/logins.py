"""What proves a user, keys, password, one-time codes, and who has to wait after wrong tries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from broker.core import errors
from broker.core.tokens import Scope
from broker.http import people
from broker.http.calls import PAGING, page, read, veiled
from broker.http.routes import Noun, Page, Route, caller_of
from broker.http.whose import USER, USER_OF_ALL

if TYPE_CHECKING:
    from broker.core.blocks import Block
    from broker.core.interfaces import Store
    from broker.core.model import Key
    from broker.service.services import Services


class LoginRoutes:
    """Every handler raises `DeskError`. No answer, log line or error has a password in it."""

    def __init__(self, *, store: Store, services: Services) -> None:
        self._store = store
        self._accounts = services.accounts
        self._codes = services.codes
        self._blocks = services.blocks
        self._clock = services.watches.clock

    async def list_keys(self, request: web.Request) -> web.Response:
        user = await self._accounts.user(request.match_info["name"])
        keys = list(enumerate(await self._store.keys(user.id)))

        async def out(numbered: tuple[int, Key]) -> people.KeyOut:
            return people.key_out(numbered[1])

        return await page(request, keys, key=lambda numbered: (numbered[0],), out=out)

    async def add_key(self, request: web.Request) -> web.Response:
        body = await read(request, people.NewKey)
        key = await self._accounts.add_key(
            request.match_info["name"], body.key, actor=caller_of(request).actor
        )
        return web.json_response(people.key_out(key), status=201)

    async def rename_key(self, request: web.Request) -> web.Response:
        body = await read(request, people.KeyChange)
        key = await self._accounts.rename_key(
            request.match_info["name"],
            request.match_info["key"],
            body.name,
            actor=caller_of(request).actor,
        )
        return web.json_response(people.key_out(key))

    async def remove_key(self, request: web.Request) -> web.Response:
        await self._accounts.remove_key(
            request.match_info["name"], request.match_info["key"], actor=caller_of(request).actor
        )
        return web.Response(status=204)

    async def set_password(self, request: web.Request) -> web.Response:
        body = await read(request, people.NewPassword)
        await self._accounts.set_password(
            request.match_info["name"], body.password, actor=caller_of(request).actor
        )
        return web.Response(status=204)

    async def remove_password(self, request: web.Request) -> web.Response:
        await self._accounts.remove_password(
            request.match_info["name"], actor=caller_of(request).actor
        )
        return web.Response(status=204)

    async def remove_code(self, request: web.Request) -> web.Response:
        user = await self._accounts.user(request.match_info["name"])
        await self._codes.remove(user, actor=caller_of(request).actor)
        return web.Response(status=204)

    async def list_blocks(self, request: web.Request) -> web.Response:
        names = {user.name for user in await self._store.users()}
        now = self._clock.monotonic()

        async def out(block: Block) -> people.BlockOut:
            return people.block_out(block, exists=block.circle.account in names)

        return await page(
            request,
            self._blocks.standing(),
            # Of names that can be anything nothing is told, by a cursor neither.
            key=lambda block: (-round(block.left + now), veiled(str(block.circle))),
            out=out,
        )

    async def lift_block(self, request: web.Request) -> web.Response:
        await self._blocks.lift(request.match_info["account"], actor=caller_of(request).actor)
        return web.Response(status=204)


LOGINS = Noun(
    name="logins",
    summary="What proves a user: keys, passwords, one-time codes; and who has to wait after wrong tries.",
    routes=(
        Route(
            method="GET",
            path="/users/{name}/keys",
            handler=LoginRoutes.list_keys,
            name="list_keys",
            summary="List the keys of a user, in the order in which they were added.",
            needs=Scope.READ,
            whose=USER,
            query=PAGING,
            answers={200: Page(people.KeyOut)},
        ),
        Route(
            method="POST",
            path="/users/{name}/keys",
            handler=LoginRoutes.add_key,
            name="add_key",
            summary="Add a key: a line as in authorized_keys.",
            needs=Scope.USERS,
            whose=USER,
            body=people.NewKey,
            answers={201: people.KeyOut},
            refuses=(errors.Conflict,),
        ),
        Route(
            method="PATCH",
            path="/users/{name}/keys/{key:.+}",
            handler=LoginRoutes.rename_key,
            name="rename_key",
            summary="Give a key another name; it is named by its name or fingerprint.",
            needs=Scope.USERS,
            whose=USER,
            body=people.KeyChange,
            answers={200: people.KeyOut},
            refuses=(errors.Conflict,),
        ),
        Route(
            method="DELETE",
            path="/users/{name}/keys/{key:.+}",
            handler=LoginRoutes.remove_key,
            name="remove_key",
            summary="Take a key away, and end what it opened.",
            needs=Scope.USERS,
            whose=USER,
            answers={204: None},
        ),
        Route(
            method="PUT",
            path="/users/{name}/password",
            handler=LoginRoutes.set_password,
            name="set_password",
            summary="Set the password, and end what the one before opened.",
            needs=Scope.USERS,
            whose=USER,
            body=people.NewPassword,
            answers={204: None},
            refuses=(
                errors.Conflict,
                errors.CapacityExhausted,
            ),
        ),
        Route(
            method="DELETE",
            path="/users/{name}/password",
            handler=LoginRoutes.remove_password,
            name="remove_password",
            summary="Take the password away, and end what it opened.",
            needs=Scope.USERS,
            whose=USER,
            answers={204: None},
        ),
        Route(
            method="DELETE",
            path="/users/{name}/code",
            handler=LoginRoutes.remove_code,
            name="remove_codes",
            summary="Take one-time and recovery codes away.",
            needs=Scope.USERS,
            whose=USER_OF_ALL,
            answers={204: None},
        ),
        Route(
            method="GET",
            path="/login-blocks",
            handler=LoginRoutes.list_blocks,
            name="list_login_blocks",
            summary="List accounts that wait after wrong passwords and codes, the longest wait first.",
            needs=Scope.READ,
            whose=None,
            query=PAGING,
            answers={200: Page(people.BlockOut)},
        ),
        Route(
            method="DELETE",
            path="/login-blocks/{account}",
            handler=LoginRoutes.lift_block,
            name="lift_login_block",
            summary="Let an account be tried again at once, from everywhere.",
            needs=Scope.USERS,
            whose=None,
            answers={204: None},
        ),
    ),
)
