"""The shipped weights: read them with colora.train.checkpoint, by name."""

SHA256 = {
    "blur": "ca40adf5b9e75731f0a6d108a6632c36756c2e8da05ba2b595781896f51a2f61",
    "haze": "ebb3fa53ebb9302464366d0ccd616990ecbd2320cbecb90638a2771c4db5fc8a",
    "jpeg": "0321851d869a2d02fef7e044184e749f484aa38e9913bf080b66d61eede0ed1a",
    "lowlight": "13a6590651777249aca76109ab65ec89bc90d892c30bf90ff54030b329029678",
    "nafnet-small": "a1fbe560ce657639e56b96ee8143793ae03b2e6ff08e3ba2f0e4e364fba8587d",
    "noise": "11482629610e130f3ea836aa934aed294e9fb9e442cf3a72fbf97a09709c3589",
    "rain-raindrop": "2a973c992aba47c9180c6ecae693d75fe0687776feac09afbc7cfa2d1d3af4d8",
    "rain": "44fb02893f746dc423407cf39d7a1503139208754845abd4c7ff161c7c504f35",
    "raindrop": "b87749c2d5188dd0e3be55bfc55cfb5f7c7ce30216b5431d3a4a7a95928bcbd7",
}
"""Name → sha256 of its file."""
