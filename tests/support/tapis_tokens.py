"""Tokens as Tapis's Tokens service makes them, signed for tests."""

import time

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "a secret of the tests, which is long enough"
SITE = "tacc"


def claims(user="jobs", tenant="admin", kind="service", **more):
    """The claims of a token; None leaves one out. Names get the prefix that Tapis gives them."""
    named = {
        "tenant_id": tenant,
        "username": user,
        "account_type": kind,
        "token_type": "access",
        "delegation": False,
        "target_site": SITE if kind == "service" else None,
    }
    plain = {"exp": int(time.time()) + 3600, "sub": f"{user}@{tenant}", "iss": "https://admin.tapis.io/v3/tokens"}
    plain |= {name: more.pop(name) for name in ("exp", "iat", "nbf", "aud", "sub", "jti") if name in more}
    all_claims = {**plain, **{f"tapis/{name}": value for name, value in {**named, **more}.items()}}
    return {name: value for name, value in all_claims.items() if value is not None}


def token(user="jobs", tenant="admin", kind="service", *, key=SECRET, algorithm="HS256", **more):
    return jwt.encode(claims(user, tenant, kind, **more), key, algorithm)


def headers_of(user, tenant, *, service=None, token_tenant="admin"):
    """The headers of a user, or of a service that acts for one."""
    if service is None:
        return {"X-Tapis-Token": token(user, tenant, "user")}
    return {
        "X-Tapis-Token": token(service, token_tenant),
        "X-Tapis-Tenant": tenant,
        "X-Tapis-User": user,
    }


def pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
