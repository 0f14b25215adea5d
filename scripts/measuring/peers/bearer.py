"""Whether a bearer token is one of ours: Flask and FastAPI ask this, as their users would."""

import os
import time

import jwt

SECRET = os.environ["PEER_SECRET"]


def check_token(header):
    try:
        claims = jwt.decode((header or "").removeprefix("Bearer "), SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        return False
    return claims["exp"] > time.time()
