"""The kernels run in Triton's interpreter here: set before anything can import them."""

import os

os.environ["TRITON_INTERPRET"] = "1"
