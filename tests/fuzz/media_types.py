"""Read by schemathesis: what is sent where the description says that bytes are. Half of it are images."""

from typing import Final

import schemathesis
from hypothesis import strategies as st

from tests.fuzz.corpus import seeds

FILES: Final = st.sampled_from([seed.data for seed in seeds()]) | st.binary(min_size=1, max_size=2000)

schemathesis.openapi.media_type("application/octet-stream", FILES)
schemathesis.openapi.format("binary", FILES)
