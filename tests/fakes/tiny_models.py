"""Models small enough to be made by a test, in the formats that the real loaders read."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

RATE = 16_000
HERTZ = 600


def piper_voice(folder: Path, *, speakers: int = 1, hertz: float = HERTZ) -> Path:
    """An ONNX voice that hums: 40 ms for each phoneme, an octave higher for each speaker."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, value: object, kind: type = np.float32) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(value, dtype=kind), name)

    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, ["batch", "phonemes"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    if speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, ["batch"]))
    node = helper.make_node
    nodes = [
        node("Gather", ["input_lengths", "zero"], ["length"]),
        node("Cast", ["length"], ["length_f"], to=TensorProto.FLOAT),
        node("Gather", ["scales", "one"], ["scale"]),
        node("Mul", ["length_f", "scale"], ["scaled"]),
        node("Mul", ["scaled", "samples_each"], ["samples"]),
        node("Range", ["zero_f", "samples", "one_f"], ["time"]),
    ]
    if speakers > 1:
        nodes += [
            node("Gather", ["sid", "zero"], ["speaker"]),
            node("Cast", ["speaker"], ["speaker_f"], to=TensorProto.FLOAT),
            node("Pow", ["two_f", "speaker_f"], ["pitch"]),
            node("Mul", ["step", "pitch"], ["own_step"]),
        ]
    nodes += [
        node("Mul", ["time", "own_step" if speakers > 1 else "step"], ["phase"]),
        node("Sin", ["phase"], ["wave"]),
        node("Mul", ["wave", "half"], ["quiet"]),
        node("Reshape", ["quiet", "shape"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "hum",
        inputs,
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1, 1, "samples"])],
        [
            constant("zero", 0, np.int64), constant("one", 1, np.int64), constant("zero_f", 0), constant("one_f", 1),
            constant("two_f", 2), constant("samples_each", RATE * 0.04), constant("step", 2 * np.pi * hertz / RATE),
            constant("half", 0.5), constant("shape", [1, 1, 1, -1], np.int64),
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
    model.ir_version = 8
    path = folder / f"hum-{speakers}.onnx"
    onnx.save(model, path)
    phonemes = "_^$ abcdefghijklmnopqrstuvwxyzæðŋɑɐɔəɚɛɜɡɪɹʃʊʌʒˈˌːθɾᵻ,.!?-'"
    config = {
        "audio": {"sample_rate": RATE},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.667, "length_scale": 1.0, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "phoneme_id_map": {char: [number] for number, char in enumerate(phonemes)},
        "num_symbols": len(phonemes),
        "num_speakers": speakers,
        "speaker_id_map": {f"voice{n}": n for n in range(speakers)} if speakers > 1 else {},
    }
    path.with_name(path.name + ".json").write_text(json.dumps(config))
    return path


def turn_model(folder: Path, weights: np.ndarray) -> Path:
    """Input and output as smart-turn v3 has them: the sigmoid of the features' sum by ``weights``, shape (80, 800)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Flatten", ["input_features"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "turn",
        [helper.make_tensor_value_info("input_features", TensorProto.FLOAT, ["batch", *weights.shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(weights.astype(np.float32).reshape(-1, 1), "weights")],
    )
    path = folder / "smart-turn-tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def gguf_model(folder: Path) -> Path:
    """A llama of one layer with random weights, and a vocabulary of bytes and some words."""
    from gguf import GGUFWriter, TokenType

    width, heads, feed, context = 64, 2, 96, 4096
    tokens: list[bytes] = [b"<unk>", b"<s>", b"</s>"]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    tokens += [f"<0x{byte:02X}>".encode() for byte in range(256)]
    kinds += [TokenType.BYTE] * 256
    # The blank must be one token: the library gives the tokeniser no more room than there are bytes.
    words = [
        " ",
        " yes.",
        " no.",
        " nine",
        " to",
        " five.",
        " we",
        " are",
        " open",
        " hello",
        " goodbye.",
        "a",
        "e",
        "o",
    ]
    tokens += [word.replace(" ", "\u2581").encode() for word in words]
    kinds += [TokenType.NORMAL] * len(words)
    path = folder / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(feed)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_file_type(0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0 if number < 259 else -float(number - 258) for number in range(len(tokens))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    random = np.random.default_rng(7)

    def tensor(name: str, *shape: int) -> None:
        values = np.ones(shape) if "norm" in name else random.normal(0, 0.5, shape)
        writer.add_tensor(name, values.astype(np.float32))

    tensor("token_embd.weight", len(tokens), width)
    tensor("blk.0.attn_norm.weight", width)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        tensor(f"blk.0.{name}.weight", width, width)
    tensor("blk.0.ffn_norm.weight", width)
    tensor("blk.0.ffn_gate.weight", feed, width)
    tensor("blk.0.ffn_up.weight", feed, width)
    tensor("blk.0.ffn_down.weight", width, feed)
    tensor("output_norm.weight", width)
    # Words only: bytes and control tokens are made improbable, so that what is generated can be spoken.
    output = random.normal(0, 0.5, (len(tokens), width))
    output[:260] = 0.0
    writer.add_tensor("output.weight", output.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


KALDI_WORDS = {"hours": 400.0, "sales": 1200.0, "[unk]": 2800.0}
"""What the recogniser below hears in a tone of so many Hz."""
_BINS = 23


def kaldi_model(folder: Path, names: Sequence[str] = tuple(KALDI_WORDS)) -> Path:
    """A hand-made Kaldi model of three words, each a tone: filterbanks, one affine layer, a decoding graph.

    ``names`` are the words in the order of :data:`KALDI_WORDS`.

    Phone 1 is silence, the others are the words. A tone's bin of the filterbank against the other tones' bins is
    its phone's score; silence has a constant one. Source: Kaldi's text formats of its models, OpenFst's binary one.
    """
    for part in ("am", "conf", "graph"):
        (folder / part).mkdir(parents=True)
    phones = len(KALDI_WORDS) + 1
    (folder / "conf" / "fbank.conf").write_text(f"--sample-frequency=16000\n--dither=0\n--num-mel-bins={_BINS}\n")
    (folder / "conf" / "model.conf").write_text(
        "--min-active=20\n--max-active=200\n--beam=20.0\n--lattice-beam=6.0\n--acoustic-scale=1.0\n"
        "--frame-subsampling-factor=1\n--endpoint.silence-phones=1\n--endpoint.rule2.min-trailing-silence=0.5\n"
    )
    words = ["<eps>", *names, "#0"]
    (folder / "graph" / "words.txt").write_text("".join(f"{word} {number}\n" for number, word in enumerate(words)))
    (folder / "am" / "final.mdl").write_text(_transitions(phones) + _network())
    (folder / "graph" / "HCLG.fst").write_bytes(_graph())
    return folder


def _transitions(phones: int) -> str:
    numbers = " ".join(str(phone) for phone in range(1, phones + 1))
    triples = "".join(f"{phone} 0 {phone - 1} \n" for phone in range(1, phones + 1))
    return (
        f"<TransitionModel> \n<Topology> \n<TopologyEntry> \n<ForPhones> \n{numbers} \n</ForPhones> \n"
        "<State> 0 <PdfClass> 0 <Transition> 0 0.5 <Transition> 1 0.5 </State> \n<State> 1 </State> \n"
        f"</TopologyEntry> \n</Topology> \n<Triples> {phones} \n{triples}</Triples> \n"
        f"<LogProbs> \n [ 0 {'-0.6931472 ' * (2 * phones)}]\n</LogProbs> \n</TransitionModel> \n"
    )


def _network() -> str:
    def mel(hertz: float) -> float:
        return float(1127 * np.log(1 + hertz / 700))

    centres = np.linspace(mel(20), mel(8000), _BINS + 2)[1:-1]
    places = [int(np.argmin(np.abs(centres - mel(hertz)))) for hertz in KALDI_WORDS.values()]
    weights = np.zeros((len(places) + 1, _BINS))
    for row, place in enumerate(places, 1):
        weights[row, place] = 1.0
        for other in places:
            if other != place:
                weights[row, other] = -1.0 / (len(places) - 1)
    rows = "\n".join("  " + " ".join(f"{value:.4f}" for value in row) for row in weights)
    bias = " ".join(["7.5", *["0.0"] * len(places)])
    return (
        f"<Nnet3> \ninput-node name=input dim={_BINS}\ncomponent-node name=tones component=tones input=input\n"
        "output-node name=output input=tones objective=linear\n\n<NumComponents> 1 \n"
        f"<ComponentName> tones <FixedAffineComponent> <LinearParams>  [\n{rows} ]\n<BiasParams>  [ {bias} ]\n"
        "</FixedAffineComponent> \n</Nnet3> \n<LeftContext> 0 <RightContext> 0 <Priors>  [ ]\n"
    )


def _graph() -> bytes:
    """Words and silence in any order. An arc is (input: transition id, output: word, cost, next state)."""
    least = 8  # frames of 10 ms
    states: list[list[tuple[int, int, float, int]]] = [[]]
    for phone in range(1, len(KALDI_WORDS) + 2):
        loop, forward = 2 * phone - 1, 2 * phone
        word, length = (0, 1) if phone == 1 else (phone - 1, least)
        first = len(states)
        states[0].append((forward, word, 0.1 if phone == 1 else 10.0, first))
        for step in range(length):
            last = step == length - 1
            arcs = [(loop, 0, 0.1, first + step + (0 if last else 1))]
            states.append(arcs + ([(0, 0, 0.0, 0)] if last else []))
    count = sum(len(arcs) for arcs in states)
    data = struct.pack("<i", 2125659606)
    for name in (b"vector", b"standard"):
        data += struct.pack("<i", len(name)) + name
    data += struct.pack("<iiQqqq", 2, 0, 3, 0, len(states), count)
    for number, arcs in enumerate(states):
        data += struct.pack("<fq", 0.0 if number == 0 else float("inf"), len(arcs))
        for arc in arcs:
            data += struct.pack("<iifi", *arc)
    return data
