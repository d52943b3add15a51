"""ethstaker-deposit validates deposit entries and opens keystores.

Reads one JSON job per line from standard input, answers one JSON line each: {"ok": bool, "why": str}.
"""

import json
import sys
from types import SimpleNamespace

from ethstaker_deposit.key_handling.keystore import Keystore
from ethstaker_deposit.settings import ALL_CHAIN_KEYS, get_chain_setting, get_devnet_chain_setting
from ethstaker_deposit.utils.ssz import DepositMessage
from ethstaker_deposit.utils.validation import validate_deposit
from py_ecc.bls import G2ProofOfPossession as bls


def chain_setting(name, fork_version):
    """The library's own setting of a public network, or one for a network that it does not know."""
    if name in ALL_CHAIN_KEYS:
        return get_chain_setting(name)
    return get_devnet_chain_setting(name, fork_version, fork_version, None)


def judge_deposit(job):
    entry, credentials = job["entry"], bytes.fromhex(job["withdrawal_credentials"])
    chain = chain_setting(entry["network_name"], job["fork_version"])
    # validate_deposit looks neither at the fork version of the network nor at the message root.
    if bytes.fromhex(entry["fork_version"]) != chain.GENESIS_FORK_VERSION:
        return f"fork_version is not the one of {chain.NETWORK_NAME}"
    message = DepositMessage(
        pubkey=bytes.fromhex(entry["pubkey"]),
        withdrawal_credentials=bytes.fromhex(entry["withdrawal_credentials"]),
        amount=entry["amount"],
    )
    if message.hash_tree_root.hex() != entry["deposit_message_root"]:
        return "deposit_message_root is not the root of the message"
    expected = SimpleNamespace(
        signing_pk=bytes.fromhex(job["pubkey"]),
        withdrawal_prefix=credentials[:1],
        withdrawal_address=credentials[12:],
    )
    return "" if validate_deposit(entry, chain, expected) else "validate_deposit refuses it"


def judge_keystore(job):
    keystore = Keystore.from_json(json.loads(job["text"]))
    secret = int.from_bytes(keystore.decrypt(job["password"]), "big")
    if bls.SkToPk(secret).hex() != job["pubkey"]:
        return "the key inside is not the lock's share"
    return ""


JUDGES = {"deposit": judge_deposit, "keystore": judge_keystore}

for line in sys.stdin:
    job = json.loads(line)
    try:
        why = JUDGES[job["kind"]](job)
    except Exception as error:  # a refusal, whatever the library throws
        why = f"{type(error).__name__}: {error}".splitlines()[0]
    print(json.dumps({"ok": why == "", "why": why}), flush=True)
