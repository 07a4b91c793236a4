"""What a user would otherwise write: FastAPI and ``tf.saved_model.load``, one call a request.

Run with the SavedModel's folder and a port. TensorFlow and uvicorn keep their defaults: TensorFlow uses all cores, and
the endpoint, not being async, runs on Starlette's threads. It resizes whole images: the benchmarks' are square, and
every preprocessing version makes the same of these.
"""

import io
import sys

import numpy as np
import tensorflow as tf
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

app = FastAPI()
model = tf.saved_model.load(sys.argv[1])
predict_signature = model.signatures["serving_default"]


@app.get("/readyz")
def readyz() -> str:
    """Answer once the model is loaded."""
    return "ready"


@app.post("/predict")
def predict(file: UploadFile) -> dict[str, dict[str, float]]:
    """Answer the probabilities for one image."""
    image = Image.open(io.BytesIO(file.file.read())).convert("L").resize((224, 224), Image.Resampling.BILINEAR)
    pixels = np.repeat(np.asarray(image, dtype=np.float32)[np.newaxis, :, :, np.newaxis] / 255, 3, axis=-1)
    probabilities = predict_signature(image=tf.constant(pixels))["probabilities"].numpy()[0]
    return {"probabilities": {"non-COVID": float(probabilities[0]), "COVID-19": float(probabilities[1])}}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]))
