"""One ensemble that scales to what there is: how much of its score comes from how little of it.

What a score is made of is put in order: first the text encoder alone, then two experts under one noise, then one expert
or one noise more at a time. Every prefix of that order is an ensemble that can be run. The order is chosen greedily on
some prompts and measured on others (`order`, `make`), and published as a manifest (`manifest`).

Source: the elastic mixture of experts of TouchASP (arXiv 2412.15622), one model whose number of experts is chosen
where it runs; Matryoshka mixtures (arXiv 2509.26520) draw that number at random in training. What is ours: nothing is
trained, as the experts of an audit are given; the full score takes the place of the task's loss; noises are chosen as
experts are; and what a prefix is worth is said with an interval, beside that of orders drawn by lot.
"""
