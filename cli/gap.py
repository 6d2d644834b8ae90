"""`posgen gap`: what the encodings do to the features of new positions, beside the accuracy there."""

from __future__ import annotations

from cli.drawn import ProfileOption, ProtocolOption, RecordsOption, SweepOption
from cli.pictures import FormatOption, OutOption, TasksOption


def gap(
    records: RecordsOption = None,
    profile: ProfileOption = None,
    protocol: ProtocolOption = None,
    task: TasksOption = None,
    format: FormatOption = "png",
    out: OutOption = None,
    sweep: SweepOption = None,
) -> None:
    """Draw each rotary encoding's feature gap beside its accuracy by position, and all wavelengths, from records alone.

    gap-<protocol>.png: above, how far the features at a position lie from all trained ones (the paper's eq. 8); below,
    the accuracy there. wavelengths-<protocol>.png: wavelength and largest gap of every feature, with the critical
    feature marked. The gaps of each position stand in gap-<protocol>.csv.

    \b
    posgen gap --profile quick
    posgen gap --protocol paper --format svg --out figures
    """
    from cli.drawn import collection, folder_of
    from cli.pictures import formats, of_tasks, save
    from eval.evidence.figures.encodings import draw_features
    from eval.evidence.figures.gap import caption, figure, gaps, tidy_csv, wavelengths_by_encoding
    from eval.evidence.figures.panels import setting

    chosen = formats(format)
    found, places, ending = of_tasks(collection(records, profile, protocol, sweep), task)
    figures, texts, captions = {}, {}, []
    for name in found.protocols:
        one = gaps(found, name, places)
        figures[f"gap-{name}{ending}"] = figure(found, name, places)
        words = setting(found, f"Protocol {name}")
        figures[f"wavelengths-{name}{ending}"] = draw_features(wavelengths_by_encoding(found, name, places), words)
        texts[f"gap-{name}{ending}.csv"] = tidy_csv(name, one)
        captions.append(f"\n{caption(found, name, one)}")
    save(out or folder_of(records, profile), figures, texts, chosen)
    print("\n".join(captions))
