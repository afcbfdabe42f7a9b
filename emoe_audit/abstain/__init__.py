"""The courage to abstain: predict which prompts will be drawn wrong, and refuse where the prediction cannot be trusted.

What it is. Expansive matching of experts (EXPLOR; Qu et al., arXiv 2406.01825). Many boosted trees, the labellers,
learn "the judge finds the caption again" from what a score yields anyway, each from a random half of the prompts and of
the directions. They then label points further out than any prompt of the run, of which those are kept that the
labellers agree on. A network with one head for each labeller learns to answer like its labeller, on the prompts and out
there. Prediction is the mean of labellers and heads. `labellers`, `expansion`, `student` and `matching` are its parts.

What is ours. The features (`features`): sketches of the state of the text encoder and of the mid-block, and the scores,
which keep axes of their own while the sketches are reduced to their principal components. The answers that a head
learns are its labeller's probabilities, the agreement that keeps a point is one of votes. And when to refuse
(`decision`): a predicted risk is accepted up to a limit that promises a target, one for languages that the model has
learned from and one for a language that it has never seen. Both are learned from predictions for captions, and
languages, that were held out together (`calibration`). A prompt further from what was learned than all but 1 in 100
held-out ones is refused whatever is predicted for it.

What is promised. Of further captions in the languages learned from, all taken together, at most the target is misread
among the accepted, with probability 1 - delta over captions. In a language never seen, the same of as many captions as
each held-out language had, with probability 1 - delta over languages: one in ten such languages may break it. Nothing
is promised for any one language learned from, for new languages all taken together, for languages or captions of
another kind, or by a limit whose promise is "nothing".

When to use it. When images of some hundred captions have been judged, and many more prompts are to be decided on
without drawing them. In languages never seen it told good from bad prompts better than the score alone: AUROC 0.94
against 0.88 on emoji-b, 0.91 against 0.87 on emoji-a. Against one boosted model (0.93, 0.90) and the labellers without
their student the difference in AUROC is a hundredth at most. On the measure of the paper, the purity of the first fifth
of good prompts (AUPRC at recall 0.2), one boosted model is better: 0.945 against 0.880 on emoji-a, where the labellers
without their student reach 0.933, and 0.971 against 0.963 on emoji-b; the intervals of these differences hold 0
(`reports/benchmarks/experts.json`). So what is gained comes from the features; where they cannot be had, refuse by the
score (`emoe_audit.analysis.refusal`). Fifty captions promise nothing there; the command that fits says what is
promised. A group that is misread more is refused more: look at the abstention rates (`runs`) before anybody is turned
away.
"""
