"""The short authentication string: a few words that both users read to each other.

Plain English nouns, told apart by their first four letters, so that they survive a bad line and a foreign accent.
"""

from __future__ import annotations

from typing import Final

_TEXT: Final = """
acid acorn actor agent alarm album alley amber angel ankle apple apron arena arrow atlas attic autumn
bacon badge bagel baker balcony bamboo banana banjo barrel basket beach beaver bench berry bicycle bishop
blanket blossom bottle bracelet branch bread bridge broom bucket buffalo bugle butter cabin cactus camel
candle canoe canyon captain carbon carpet castle cattle cedar cello chair cherry chimney circle clarinet
clock clover coconut coffee comet compass copper coral cotton cradle crayon cricket crystal curtain
cushion dancer decade desert diamond dinner doctor dolphin donkey dragon drawer drum eagle easel echo
eclipse elbow elephant engine envelope evening fabric falcon farmer feather fence ferry fiddle finger
flame flute forest fossil fountain freckle frog garden garlic gazelle giant ginger giraffe glacier glove
goblet goose granite grape guitar hammer hazel hedge helmet heron honey horizon hotel hunter igloo indigo
insect island ivory jacket jaguar jasmine jewel jigsaw jungle kettle kitchen kiwi koala ladder lagoon
lantern lemon leopard letter lilac linen lizard lobster locket lotus lunch magnet mango maple marble
meadow melon mirror mitten monkey morning moss mountain museum mustard napkin nectar needle nickel north
nutmeg oasis ocean olive onion opera orange orchid otter oyster paddle palace panda paper parrot pebble
pencil pepper piano pigeon pillow planet pocket pony poplar potato pretzel puddle pumpkin puppet puzzle
queen quilt rabbit radish raven ribbon river robin rocket saddle salmon sandal satin saturn scarf shadow
silver spoon stamp sugar summer sunset table teapot tiger timber tomato tower trumpet tulip turtle
umbrella velvet village violin waffle walnut window winter wizard yellow zebra zipper
"""
#: 256 words: each stands for a byte.
WORDS: Final = tuple(_TEXT.split())


def words_of(data: bytes) -> tuple[str, ...]:
    """A word for each byte."""
    return tuple(WORDS[byte] for byte in data)
