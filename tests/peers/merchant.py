#!/usr/bin/env python3
"""Merchant: a key pair of one's own and sealed data opened with it, by jwcrypto.

merchant.py key EC|RSA FOLDER   makes FOLDER/private.jwk and FOLDER/public.jwk
merchant.py open FOLDER         reads sealed data from its input, prints what is inside
"""

import json
import os
import sys

from jwcrypto import jwe, jwk


def make_key(kind, folder):
    if kind == "EC":
        key = jwk.JWK.generate(kty="EC", crv="P-256", use="enc")
    else:
        key = jwk.JWK.generate(kty="RSA", size=3072, use="enc")
    write(os.path.join(folder, "private.jwk"), key.export_private())
    write(os.path.join(folder, "public.jwk"), key.export_public())


def open_sealed(folder, text):
    with open(os.path.join(folder, "private.jwk"), encoding="ascii") as file:
        key = jwk.JWK.from_json(file.read())
    sealed = jwe.JWE(algs=["ECDH-ES", "RSA-OAEP-256", "A256GCM"])
    sealed.deserialize(text, key)
    header = json.loads(sealed.objects["protected"])
    return {"header": header, "content": json.loads(sealed.payload)}


def write(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def main(arguments):
    match arguments:
        case ["key", ("EC" | "RSA") as kind, folder]:
            make_key(kind, folder)
        case ["open", folder]:
            json.dump(open_sealed(folder, sys.stdin.read().strip()), sys.stdout)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
