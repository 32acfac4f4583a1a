"""Readable names for runs, such as `brisk-otter`."""

from __future__ import annotations

import random


def _words(text: str) -> list[str]:
    return text.split()


ADJECTIVES = _words(
    """
    able airy amber ample ancient apt azure bold brave brief bright brisk broad calm candid careful civil
    clean clear clever cool cosy crisp curious dapper daring dear deft eager early easy even exact fair fast
    fine firm fleet fluent fond frank free fresh gentle glad golden good grand great green happy hardy
    honest humble ideal jolly keen kind large late lean light lively lucid lucky mellow merry mild modest
    neat new nimble noble open patient plain polite proud pure quick quiet rapid rare ready regal rich ripe
    rosy round royal safe sage serene sharp shy silent silver simple sleek smart smooth sober soft solid
    sound spry stable steady still stout strong sturdy subtle sunny super sure sweet swift tall tame tender
    tidy true trusty upright vast vivid warm wary whole wide wild wise witty young zesty
    """
)
ANIMALS = _words(
    """
    adder albatross alpaca antelope badger bat bear beaver bee bison bittern boar bobcat buffalo bunting
    bustard camel caribou cat chamois cheetah civet cod condor coot cormorant cougar coyote crab crane
    cricket crow curlew deer dingo dolphin donkey dove dragonfly duck dunlin eagle eel egret eland elk
    ermine falcon ferret finch firefly fox gannet gazelle gecko gibbon giraffe gnu goat goose grebe grouse
    gull hare harrier hawk hedgehog heron hippo hoopoe hornet horse hyena ibex ibis iguana impala jackal
    jaguar jay kestrel kingfisher kite kiwi koala kudu lark lemming lemur leopard linnet lion lizard llama
    lobster lynx macaw magpie mallard manatee marmot marten martin mole mongoose moose moth mouse newt
    nightingale nuthatch ocelot octopus okapi orca oriole oryx osprey ostrich otter owl ox oyster panda
    panther parrot partridge pelican penguin pheasant pigeon pika pike plover polecat pony porpoise puffin
    puma quail rabbit raccoon ram raven reindeer robin rook ruff sable salmon sandpiper seal shrew shrike
    skink skua skylark sloth snail snipe sparrow spoonbill squid squirrel starling stilt stoat stork swallow
    swan swift tapir teal tern thrush tiger toad toucan trout turaco turtle viper vole wagtail walrus
    warbler wasp weasel whale wolf wombat woodcock wren yak zebra
    """
)


def readable_name() -> str:
    """An adjective and an animal.

    >>> name = readable_name()
    >>> adjective, animal = name.split("-")
    >>> adjective in ADJECTIVES and animal in ANIMALS
    True
    """
    # Not the global generator: a user's random.seed() would give every run the same name.
    generator = random.SystemRandom()
    return f"{generator.choice(ADJECTIVES)}-{generator.choice(ANIMALS)}"
