"""The words of commands.py: ten commands, and others, of which some are for training alone and some for measuring alone."""

COMMANDS = ("stop", "go", "left", "right", "up", "down", "yes", "no", "on", "off")
OTHER = "other"
LABELS = (*COMMANDS, OTHER)
_OTHER_WORDS = """
    about above after again air all and animal any apple arm ask autumn baby back bad ball bank battery bed behind bell best
    bird black blue boat body book both bottle box boy bread break bridge bright bring brother brown build bus but buy cake call
    camera car cat center chair change charge child city clean clear clock close cloud coat cold color come cook corner count
    cow cup dance dark day dead deep desk dinner dog door dream drive drop dust earth east easy eat egg eight empty end engine
    enter even eye face fall family far fast father few field fight find finger fire fish five floor flower fly follow food foot
    forest forward four fox free fresh friend front full game garden get girl give glass gold goal good grass green ground guess
    guitar hand happy hat have head hear heart heavy hello help here high hill hold home hope horse hot hour house how hundred
    ice in inside iron jump just keep key kitchen knife lake lamp land large last late laugh learn leg less lesson letter lift
    light line list little long look loss lost loud love low lunch machine make man many map mark market may mean meat meet
    middle milk mind minute money month moon more morning mother motor mountain mouse mouth move much music must my name near
    neck need nest never new next nine north nose note now number of office often old one open orange order other out over own
    page paper park pass pen people phone photo picture piece place plan plane plant play please point power press pull push
    put queen quick quiet rain read ready red rest ride ring river road robot rock roof room round run sad safe salt same sand
    save say school sea seat see seven shall ship shirt shoe shop short show sick side sing sister sit six sky sleep slow small
    snow so sock soft some song soon south space speak speed spring square stack staff star start stay step stick still stock
    stone store storm story street strong sugar summer sun sure swim table take talk tall taste tea tell ten test thank that
    them then they thing think thousand three throw time tired today together tomorrow tone too top touch town track train tree
    true try turn twenty two uncle under use very visit voice wait wake walk wall want warm wash watch water way we weather week
    well west what wheel when where white who why wide wild wind window winter with woman wood word work world yard year
    yellow yesterday yet you young your zero
"""
_NEW_WORDS = """
    backward wow bicycle kangaroo river listen computer sofa elephant butter ocean violet question doctor planet basket
    seventeen library stopwatch gopher leftover rightly upper downtown lest rate top gown yell nor offer slope ghost lived
    pop upon dawn guest knob awe
"""
OTHER_WORDS, NEW_WORDS = tuple(_OTHER_WORDS.split()), tuple(_NEW_WORDS.split())  # of training, of the other groups
