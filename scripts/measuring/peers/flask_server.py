"""Flask behind Waitress."""

from bearer import check_token
from flask import Flask, abort, jsonify, request
from model import PORT, WORKLOAD, classify_floats, classify_picture, open_session, run_tensor
from waitress import serve

app, session = Flask(__name__), open_session()


@app.before_request
def authenticate():
    if not check_token(request.headers.get("Authorization")):
        abort(401)


@app.post("/predict")
def predict():
    if WORKLOAD == "tiny":
        return jsonify(classify_floats(session, request.get_json()["x"]))
    if WORKLOAD == "image":
        return jsonify(classify_picture(session, request.files["file"].read()))
    return app.response_class(run_tensor(session, request.get_data()).tobytes(), mimetype="application/octet-stream")


serve(app, host="127.0.0.1", port=PORT, threads=4, _quiet=True)
