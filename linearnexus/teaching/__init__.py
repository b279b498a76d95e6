"""What `linearnexus explain` shows: the concepts of the guide as numbers computed or measured here, and pictures.

Each topic is a file with one function `explain`, which returns an `Explanation`; `topics.TOPICS` lists them.

Look first at: `topics.TOPICS`, `explanation.Explanation`, and then the topic that you want to know of.
"""
