"""What the model writes, next to each evaluation."""

from linearnexus.generation.config import SamplingConfig
from linearnexus.generation.engine import Generator
from linearnexus.models.stacked import has_stacks, unstacked_copy
from linearnexus.training.display import Display
from linearnexus.training.fit import Loop
from linearnexus.training.hooks.cadence import AtEvaluations, Cadence
from linearnexus.training.hooks.clock import Clock
from linearnexus.training.job import Job
from linearnexus.training.objective import merge_frozen
from linearnexus.training.run_folder import Log
from linearnexus.training.step import Update

TEMPERATURE = 0.8


class Samples(AtEvaluations):
    def __init__(self, job: Job, update: Update, cadence: Cadence, clock: Clock, log: Log, display: Display) -> None:
        self.job, self.update, self.cadence, self.clock = job, update, cadence, clock
        self.log, self.display = log, display

    def act(self, loop: Loop) -> None:
        config, source = self.job.config, self.job.source
        if not config.sample_tokens:
            return
        with self.clock.pause(loop):
            model = merge_frozen(loop.state.model, self.update.frozen)
            if has_stacks(model):  # decoding reads whole arrays, not slices of a stack for every token
                model = unstacked_copy(model)
            sampling = SamplingConfig(temperature=TEMPERATURE, seed=config.seed)
            generator = Generator(model, source.tokenizer, config.sequence_length)
            prompt = self.job.prompt(config.sample_prompt)
            text = generator.generate([prompt], self.job.sample_tokens(), sampling, source.stop)[0].text
            self.log.sample(loop.done, text)
            self.display.sample(text)
