"""LinearNexus's side: the training step and the generator that the command line uses.

Look first at: `build`.
"""

from linearnexus.core.machine import prepare, return_free_memory

prepare()  # as the command line does, before JAX is imported

import jax  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.race.worker import Unit, serve  # noqa: E402
from benchmarks.race.works import Work  # noqa: E402
from linearnexus.data.batches import Batch  # noqa: E402
from linearnexus.generation.config import SamplingConfig  # noqa: E402
from linearnexus.generation.engine import Generator  # noqa: E402
from linearnexus.mixers.configs import AttentionConfig, Mamba2Config, MambaConfig, MLPConfig  # noqa: E402
from linearnexus.models.architectures import pure  # noqa: E402
from linearnexus.models.config import BlockConfig, LayerNormConfig, ModelConfig  # noqa: E402
from linearnexus.models.language_model import LanguageModel  # noqa: E402
from linearnexus.models.quantize import quantize  # noqa: E402
from linearnexus.tokenizers.char import CharTokenizer  # noqa: E402
from linearnexus.training.config import TrainConfig  # noqa: E402
from linearnexus.training.objective import CrossEntropy  # noqa: E402
from linearnexus.training.optimizers import AdamWConfig  # noqa: E402
from linearnexus.training.step import Update, random_state  # noqa: E402


def model_config(work: Work) -> ModelConfig:
    if work.architecture == "gpt":
        block = BlockConfig(AttentionConfig(n_head=work.heads, rope_theta=None), MLPConfig())
        norm, positions = LayerNormConfig(bias=False), work.length + 1
        return ModelConfig(
            pattern=(block,),
            n_layer=work.n_layer,
            hidden_size=work.width,
            vocab_size=work.vocab_size,
            norm=norm,
            learned_positions=positions,
        )
    mixer = MambaConfig() if work.architecture == "mamba" else Mamba2Config(state_size=64)
    return pure(mixer, work.n_layer, work.width, work.vocab_size)


def build(work: Work, side: str) -> Unit:
    config = TrainConfig(
        model=model_config(work),
        batch_size=work.batch,
        sequence_length=work.length,
        optimizer=AdamWConfig(),
        learning_rate=1e-3,
    )
    if work.kind == "training":
        state, update = random_state(config), Update(config, CrossEntropy())
        ids = np.random.default_rng(0).integers(0, work.vocab_size, (1, work.batch, work.length + 1)).astype(np.int32)
        batch = Batch(ids[:, :, :-1], ids[:, :, 1:])

        def step() -> int:
            nonlocal state
            first = int(state.step) == 0
            state, metrics = update.at_rate(state, batch, 1e-3)
            assert np.isfinite(metrics["loss"])  # waits, as the peers do
            if first:
                return_free_memory()  # as the training loop does
            return batch.inputs.size

        return step
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + work.vocab_size)))
    model = quantize(jax.jit(lambda key: LanguageModel.init(config.model, key))(jax.random.key(0)), work.weights)
    generator = Generator(model, CharTokenizer(letters), context_length=work.length + 1)
    prompts, sampling = [letters[1]] * work.batch, SamplingConfig(temperature=0.8, top_k=50, top_p=0.95)

    def write() -> int:
        texts = generator.generate(prompts, work.length, sampling)
        assert all(len(text.tokens) == work.length for text in texts)
        return work.batch * work.length

    return write


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    serve(build)
