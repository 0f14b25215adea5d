"""FastAPI on Uvicorn, one worker; the runtime is called on the framework's thread pool, as for any blocking work."""

import uvicorn
from bearer import check_token
from fastapi import Depends, FastAPI, HTTPException, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from model import PORT, WORKLOAD, classify_floats, classify_picture, open_session, run_tensor
from pydantic import BaseModel

session = open_session()


def authenticate(request: Request):
    if not check_token(request.headers.get("Authorization")):
        raise HTTPException(401)


app = FastAPI(dependencies=[Depends(authenticate)])


class Floats(BaseModel):
    x: list[float]


if WORKLOAD == "tiny":
    # A run takes microseconds: a hop to another thread would cost more.
    @app.post("/predict")
    async def predict(floats: Floats):
        return classify_floats(session, floats.x)

elif WORKLOAD == "image":
    @app.post("/predict")
    async def predict(file: UploadFile):
        return await run_in_threadpool(classify_picture, session, await file.read())

else:
    @app.post("/predict")
    async def predict(request: Request):
        output = await run_in_threadpool(run_tensor, session, await request.body())
        return Response(output.tobytes(), media_type="application/octet-stream")


uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
