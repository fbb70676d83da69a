"""The shipped weights: read them with colora.train.checkpoint, by name."""

SHA256 = {
    "blur": "ce91d7442ffaeb04eee872cdda25e6efdea6986ec4056c153c0f556d51ccf386",
    "haze": "0c6792931291859dac096c1a0b47be1a1ef0ad010d12d61c5f0df0f1080d6da5",
    "jpeg": "7cfff42819995d9124d26c86fdee6f0a828520f340e0c87ca16f1fd14f76b643",
    "lowlight": "7177d5456650bf2c16b28eca1f42e6ddbfeb30341ccc1e17df48d59363da735d",
    "nafnet-small": "8ea0518a33b7f988e9e2f4f74263d772ee6cad8556b396322b60077724e8b33b",
    "noise": "585fb980aa456a11881c898807c6f778c9f353c50d9415e2f7eb2945a26b176a",
    "rain-raindrop": "d0fc54be49c4a9511c5d6a2ef48fc5dbb6fb5f2b17d1c1673acc117025fdb074",
    "rain": "5ac22c2c70e69d0608ca31dcefb73dad38ed42820f0dc482cec81fd671d6a78e",
    "raindrop": "bba1abec5b0475192d5f822048a4722b0929d5c0a7ec7b659c1b5acefa45c18f",
}
"""Name → sha256 of its file."""
