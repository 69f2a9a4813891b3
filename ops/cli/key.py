"""`spaceos key`: keys in files that nobody else can read, and the genesis of a network."""

from pathlib import Path
from typing import Annotated

import typer

from ops.cli.output import NETWORK, Failure, Json, answer, say, table

key = typer.Typer(no_args_is_help=True, help="Keys, and a network's first ones.")


@key.command()
def new(
    name: Annotated[str, typer.Argument(help="The file's name, without .key.")],
    wallet: Annotated[bool, typer.Option("--wallet", help="An EIP-191 wallet (secp256k1) instead of Ed25519.")] = False,
    as_json: Json = False,
) -> None:
    """Make a key in a file of mode 0600. A key is never overwritten."""
    from adapters.keys import write_key
    from ops.settings import Settings

    path = Settings().keys / f"{name}.key"
    try:
        signer = write_key(path, "eip191" if wallet else "ed25519")
    except FileExistsError:
        raise Failure(f"{path} exists, and a key is never overwritten", "choose another name") from None
    if as_json:
        answer({"did": signer.did, "file": path})
    else:
        say(
            "{}\nis in {}.\nA registrar registers it (identity.ProposeKey); its proof: spaceos key prove {}",
            signer.did,
            path,
            name,
        )


@key.command()
def show(as_json: Json = False) -> None:
    """List the keys of this machine: their names and DIDs, never their secrets."""
    from adapters.keys import read_key
    from ops.settings import Settings

    folder = Settings().keys
    found = {path.stem: read_key(path).did for path in sorted(folder.glob("*.key"))}
    if as_json:
        answer({"keys": found, "folder": folder})
    else:
        table(f"Keys in {folder}", ("name", "did"), found.items())


@key.command()
def prove(name: Annotated[str, typer.Argument(help="The key's name.")], as_json: Json = False) -> None:
    """Sign that a key wants to be registered in this network (the `proof` of identity.ProposeKey)."""
    from adapters.keys import read_key
    from contracts.identity import key_proof
    from ops.compose import deployment

    found = deployment()
    signer = read_key(find_key(found.settings.keys, name))
    proof = signer.sign(key_proof(found.network, signer.did))
    if as_json:
        answer({"key": signer.did, "proof": proof})
    else:
        say("{}", proof)


@key.command()
def genesis(
    network: Annotated[str, typer.Argument(help="The network's name: dev, testnet-eu, …")] = "dev", as_json: Json = False
) -> None:
    """Begin a network: keys of roots, processes, auditors, writer and audit log, and genesis.json with their public halves."""
    from ops.compose import deployment
    from ops.genesis import make_genesis

    found = deployment()
    try:
        domain = found.settings.audit_domain
        made = make_genesis(found.genesis_path, found.settings.keys, network, audit_domain=domain)
    except FileExistsError as error:
        raise Failure(f"{error} exists: this home has begun a network already", "set SPACEOS_HOME for another one") from None
    if as_json:
        answer({"network": made.network, "genesis": found.genesis_path, "keys": [first.key for first in made.keys]})
    else:
        say("Network [bold]{}[/] begins with {}; its keys are in {}", made.network, found.genesis_path, found.settings.keys)


def find_key(folder: Path, name: str) -> Path:
    """The file of a key that is given by its name or path. Raises Failure."""
    for path in (folder / f"{name}.key", Path(name)):
        if path.is_file():
            return path
    raise Failure(f"no key {name} in {folder}", "list them with: spaceos key show")


def register(app: typer.Typer) -> None:
    app.add_typer(key, name="key", rich_help_panel=NETWORK)
