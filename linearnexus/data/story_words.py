"""The words and plots of the corpus `stories` (stories.py is the mechanism that tells them).

How to read a template:

    a | b | c        alternatives; in a long list the first ones are common and the last ones rare
    [a|b]            alternatives inside a sentence, all equally likely; [|a] may be left out
    {name}           what the story remembers as `name`, else a fresh word from the list `name`; {Name} with a capital
    {he} {his} {him} the pronouns of the hero; {friend.he} and so on those of another character
    a                always "a": "an" is put in afterwards

A plot starts with what it has to remember, one `name: template` a line. A word in CAPITALS is a group of KINDS (a
character is made up) or a table of TABLES (one row is chosen, and its columns can be used as {name.column}).
Then comes the story. What follows a "? " is told half of the time, and an empty line is a line break. A line that is
indented more goes on with the one above it.
"""

PRONOUNS = {
    "he": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
    "she": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
    "it": {"he": "it", "him": "it", "his": "its", "himself": "itself"},
}

# Who a story can be about: (kind, pronoun, home), the most frequent first.
KINDS = {
    "ROYAL": [
        ("princess", "she", "castle"),
        ("prince", "he", "castle"),
    ],
    "CHILD": [
        ("boy", "he", "house"),
        ("girl", "she", "house"),
        ("farmer's son", "he", "farmhouse"),
        ("farmer's daughter", "she", "farmhouse"),
        ("shepherd boy", "he", "hut"),
        ("shepherd girl", "she", "hut"),
        ("miller's daughter", "she", "mill"),
        ("baker's son", "he", "house"),
        ("young knight", "any", "tower"),
        ("sailor's daughter", "she", "cottage"),
        ("fisherman's son", "he", "cottage"),
        ("young wizard", "he", "tower"),
        ("young witch", "she", "hut"),
    ],
    "BEAST": [
        ("rabbit", "any", "burrow"),
        ("mouse", "any", "hole"),
        ("fox", "any", "den"),
        ("squirrel", "any", "nest"),
        ("hedgehog", "any", "nest"),
        ("badger", "any", "burrow"),
        ("mole", "any", "burrow"),
        ("otter", "any", "den"),
        ("beaver", "any", "den"),
        ("hamster", "any", "burrow"),
        ("raccoon", "any", "den"),
        ("hare", "any", "hollow"),
        ("chipmunk", "any", "burrow"),
    ],
    "GROWN": [
        ("farmer", "any", "farmhouse"),
        ("old woman", "she", "cottage"),
        ("old man", "he", "cottage"),
        ("baker", "any", "house"),
        ("sailor", "any", "house"),
        ("woodcutter", "he", "hut"),
        ("tailor", "any", "house"),
        ("gardener", "any", "cottage"),
        ("fisherman", "he", "cottage"),
        ("teacher", "any", "house"),
        ("weaver", "any", "cottage"),
        ("painter", "any", "cottage"),
        ("knight", "any", "tower"),
        ("beekeeper", "any", "farmhouse"),
        ("shepherd", "any", "hut"),
        ("miller", "any", "mill"),
        ("doctor", "any", "house"),
        ("wizard", "he", "tower"),
    ],
    "MONSTER": [
        ("dragon", "it", "cave"),
        ("troll", "it", "cave"),
        ("ogre", "it", "cave"),
        ("griffin", "it", "nest"),
        ("yeti", "it", "cave"),
    ],
}

# What all characters of a group have in common.
VILLAGER = {
    "friends": "CHILD",
    "household": "{family}",
    "places": "PLACE",
    "hands": "hands",
    "meal": "{meal}",
    "met": "{worker}",
    "land": "In a small village | In a small village {landmark} | In the village of {village} | In a small town",
}
GROUPS = {
    "CHILD": VILLAGER | {"hobby": "{hobby}", "look": "{look}"},
    "ROYAL": VILLAGER | {"hobby": "{hobby}", "look": "{royal_look}", "land": "In a small kingdom [|{landmark}]"},
    "GROWN": VILLAGER | {"hobby": "{grown_hobby}", "look": "{look}", "friends": "GROWN", "household": "{pet}"},
    "BEAST": {
        "friends": "BEAST",
        "household": "{family}",
        "places": "WILD",
        "hands": "paws",
        "meal": "{beast_meal}",
        "met": "{wild_animal}",
        "land": "In a green forest | In a quiet valley | In a small wood | In a forest {landmark}",
        "hobby": "{beast_hobby}",
        "look": "{beast_look}",
    },
    "MONSTER": {},
}

WORDS = {
    # --- who the story is about ---
    "young": "[ROYAL|CHILD|BEAST]",
    "anyone": "[ROYAL|CHILD|CHILD|GROWN]",
    "girl": """
        Mia | Lily | Anna | Zoe | Emma | Lucy | Ella | Rosa | Nora | Clara | Maya | Alice | Jane | Kate | Sara | Vera
        | Julia | Ruby | Eva | Queenie | Xenia | Yara | Uma | Tilly | Sophie | Wendy | Bella | Hannah | Nina | Leila
        | Amy | Greta | Fiona | Helen | Kira | Laura | Martha | Naomi | Olga | Paula | Rachel | Sonia | Willa | Zelda
        | Dora | Heidi | Ingrid | Josie | Bonnie | Carmen
    """,
    "boy": """
        Tom | Ben | Max | Sam | Leo | Jack | Tim | Finn | Noah | Oscar | Peter | Henry | Luke | Hugo | Felix | David
        | Eli | Theo | Victor | Zack | Xander | Quentin | Kurt | Yusuf | Ulric | Simon | Jasper | Oliver | George
        | Harry | Isaac | Joe | Karl | Louis | Martin | Ned | Otto | Paul | Robert | Stefan | Toby | Vincent | Walter
        | Albert | Boris | Colin | Dylan | Edgar | Gus | Ivan | Milo
    """,
    "family": "{his} mother | {his} father | {his} grandmother | {his} grandfather | {his} aunt | {his} uncle",
    "village": "Elmwood | Honeyford | Riverton | Foxley | Nettlewick",
    # --- what the hero is like ---
    "heart": """
        kind | gentle | friendly | honest | polite | helpful | cheerful | patient | thoughtful | generous | loving
        | loyal | modest | caring | sincere
    """,
    "mind": """
        brave | clever | curious | quick | strong | careful | bold | lively | playful | smart | hardworking | merry
        | nimble | witty | sensible | adventurous | inventive
    """,
    "trait": "{heart} and {mind}",
    "about": "{about_home} | {about_self} | {about_self} | {about_self}",
    "about_home": """
        {He} lived in a {home_adj} {home} {landmark}. | {He} lived with {hero.household} in a {home_adj} {home}.
        | {His} {home} was [old|small], but {home_mood}.
    """,
    "about_self": """
        {He} was {trait}. | {He} loved to {hero.hobby}. | {hero.look}
        | {He} was {trait}, and {he} loved to {hero.hobby}. | {His} favorite food was {hero.meal}.
        | {His} favorite color was {color}. | More than anything else, {he} liked to {hero.hobby} and to {hero.hobby}.
    """,
    "in_old_times": "[when animals could talk|in a faraway land|when the world was young]",
    "home_mood": "cozy | quiet | tidy | lovely | snug | peaceful | pretty | cheerful | comfortable | bright",
    "home_adj": "little | small | warm | [{home_mood}|{home_mood}|big|old]",
    "landmark": """
        near the forest | by the river | on a hill | by the sea | at the edge of a meadow | near a lake
        | at the foot of a mountain | beside a stream | not far from an old bridge | behind the fields | near a pond
        | at the end of a long road | near a waterfall | beside an orchard | in a deep valley | near an old quarry
        | at the border of the kingdom
    """,
    "look": """
        {He} had {hair} hair and {eyes} eyes. | {He} always wore a {color} {wear}.
        | {He} had a {fabric} {wear} and {color} {wear_pair}.
        | {He} always carried a [leather|velvet|woolen|striped] bag.
        | {He} had a {patterned} {wear} with {number} [big|silver|wooden|shiny] buttons.
    """,
    "royal_look": """
        {He} had {hair} hair and {eyes} eyes. | {He} wore a [golden|silver] crown with {number} {gem}.
        | {He} had a {fabric} {wear} and {color} {wear_pair}. | {He} had a cloak that was covered with {gem}.
    """,
    "beast_look": """
        {He} had [soft|thick|shiny] {fur} fur and {eyes} eyes.
        | {He} had [long|funny|white] whiskers and a [pink|black|wet] nose.
        | {He} always wore a little {color} {wear}. | {He} had [round|pointed|soft] ears and [tiny|soft|nimble] paws.
    """,
    "hair": "brown | black | red | long | dark | golden",
    "eyes": "bright | blue | brown | green | gray | dark | shining | friendly | hazel",
    "fur": "brown | gray | red | black | white | spotted | golden | dark | speckled",
    "fabric": "woolen | warm | velvet | leather | knitted",
    "patterned": "striped | spotted",
    "wear": "coat | hat | scarf | sweater | cap | cloak | shawl | apron | jacket | shirt",
    "wear_pair": "boots | shoes | mittens | gloves | socks | sandals",
    "color": """
        red | blue | green | yellow | white | brown | black | gray | pink | purple | orange | violet | crimson
        | turquoise | scarlet
    """,
    "gem": "rubies | pearls | emeralds",
    # --- what they like to do ---
    "hobby": """
        paint pictures of {topic} | climb {tree} trees | read books about {topic} | draw {animals} | sing
        | collect {collected} | dance | play the {instrument} | help in the garden | count the stars
        | tell stories about {topic} | watch the {birds} | bake {baked} | swim in the river | fly kites
        | listen to stories about {topic} | play hide-and-seek | build towers | ride horses | pick {flowers}
        | invent games | fish for {fish} | make puppets of {being}
    """,
    "beast_hobby": """
        climb trees | chase {insects} | collect {collected} | splash in the puddles | listen to the {birds}
        | roll down the hill | count the stars | look for {fruits} | sing | nap in the sun | watch the {insects}
        | tell stories about {topic} | dance in the moonlight | play the {instrument} | hide behind {tree} trees
    """,
    "grown_hobby": """
        bake {baked} | play the {instrument} | tell stories about {topic} | grow {vegetables}
        | read books about {topic} | collect {collected} | sing old songs about {topic} | grow {flowers}
        | knit {color} {wear_pair}
    """,
    "being": """
        dragons | pirates | knights | giants | fairies | kings | queens | wizards | mermaids | heroes | unicorns
        | dinosaurs | robots | explorers | elves | dwarfs | sailors | inventors | gnomes | princes | acrobats
        | detectives | goblins
    """,
    "sight": """
        castles | ships | stars | trains | rockets | islands | planets | mountains | treasures | jungles | deserts
        | rainbows | volcanoes | balloons | comets | waterfalls | airplanes | submarines | lighthouses | pyramids
        | windmills
    """,
    "topic": "[{being}|{being}|{sight}]",
    "animals": """
        horses | bears | cats | dogs | rabbits | elephants | lions | foxes | whales | tigers | monkeys | wolves | owls
        | swans | penguins | giraffes | sheep | pigs | cows | camels | zebras | parrots | kangaroos | peacocks
        | dolphins | turtles | frogs | seals | lizards | geese | hippos
    """,
    "birds": "birds | robins | ducks | sparrows | storks",
    "insects": "butterflies | bees | dragonflies | grasshoppers | crickets",
    "fish": "fish | trout",
    "collected": "shells | stones | feathers | leaves | buttons | coins | pebbles | chestnuts | ribbons | marbles",
    "instrument": "flute | drum | piano | violin | trumpet | guitar | harp | tambourine",
    # --- food and drink ---
    "fruits": """
        apples | berries | cherries | pears | plums | strawberries | grapes | peaches | raspberries | blueberries
        | oranges | melons | figs
    """,
    "vegetables": """
        carrots | potatoes | beans | peas | tomatoes | onions | cabbages | pumpkins | turnips | mushrooms | radishes
        | leeks
    """,
    "baked": """
        cookies | pies | cakes | pancakes | muffins | buns | rolls | tarts | waffles | biscuits | pretzels | scones
        | doughnuts
    """,
    "pie": "apple | cherry | plum | pear | blueberry | lemon | peach | strawberry | rhubarb | walnut | pumpkin",
    "soup": """
        carrot | tomato | potato | onion | pea | mushroom | pumpkin | bean | vegetable | chicken | cabbage | turnip
        | noodle | barley
    """,
    "spread": "butter | honey | jam | cheese | cream | {pie} jam | marmalade",
    "drink": "milk | tea | lemonade | cocoa | apple juice | hot chocolate | mint tea | ginger tea | buttermilk",
    "meal": """
        {soup} soup and bread | bread with {spread} | pancakes with syrup | {pie} pie | noodles with cheese
        | {vegetables} and {vegetables} | fried eggs with {vegetables} | rice with {vegetables} | porridge with honey
        | roast chicken with {vegetables} | toast with {spread} | a bowl of {soup} soup | mashed potatoes with gravy
        | {soup} stew | sausages with mustard | a big salad | oatmeal with raisins | spaghetti with tomato sauce
        | an omelet with {vegetables} | dumplings with cream | vanilla pudding | baked beans
    """,
    "beast_meal": """
        nuts and {fruits} | {fruits} with honey | {soup} soup | {fruits} and {fruits} | {vegetables} and nuts
        | seeds and {fruits} | {vegetables} with butter | roots and {vegetables} | {pie} pie
    """,
    # --- the world around ---
    "tree": """
        apple | oak | cherry | pine | willow | birch | maple | pear | chestnut | beech | elm | fir | plum | poplar
        | walnut | cedar | linden | spruce | hazel | sycamore
    """,
    "songbird": "bird | robin | lark | nightingale | cuckoo",
    "flowers": "flowers | roses | daisies | tulips | violets | lilies | poppies | sunflowers | buttercups | bluebells",
    "spring_flower": "tulips | violets",
    "summer_flower": "roses | daisies | poppies | lilies",
    "nature": """
        A {songbird} was singing in a {tree} tree. | {season.nature}
        | The clouds looked like [big|little|white] {animals}. | The air smelled of {smell}.
        | A gentle wind was blowing through the {tree} trees. | {season.nature}
    """,
    "smell": "grass | flowers | hay | honey | pine | fresh bread | earth | mint | lavender | wood smoke | clover",
    "junk": """
        an old boot | a rusty nail | an empty bottle | a snail shell | a broken cup | a wet feather | a bent spoon
        | a torn sock | a sleepy toad | a pinecone | a cracked plate
    """,
    "walk": """
        On the way {he} met {hero.met}. | {He} passed {hero.met}.
        | {He} [waved|said hello|called good morning] to {hero.met}.
    """,
    "worker": """
        the baker, who was kneading dough | the farmer, who was plowing a field
        | the blacksmith, who was hammering a horseshoe | the miller, who was carrying sacks of flour
        | the tailor, who was sewing a coat | the carpenter, who was sawing a plank
        | the gardener, who was watering the roses | the shoemaker, who was polishing boots
        | the milkmaid, who was churning butter | the fisherman, who was mending a net
        | the painter, who was mixing colors | the teacher, who was ringing the school bell
        | the weaver, who was sitting at a loom | the candle maker, who was melting wax
        | the innkeeper, who was sweeping the steps | the mail carrier, who was sorting letters
    """,
    "wild_animal": """
        a deer, who was nibbling leaves | a snail, who was in no hurry | a woodpecker, who was tapping on a trunk
        | a spider, who was spinning a web | a toad, who was sitting under a leaf
    """,
    # --- feelings, voices and manners ---
    "sadly": "sadly | quietly | with a sigh | softly | unhappily | in a small voice | tearfully | miserably | gloomily",
    "gladly": "happily | with a smile | gladly | cheerfully | proudly | merrily | brightly | with a grin",
    "kindly": "kindly | gently | softly | with a smile | warmly | calmly | in a friendly voice | sweetly | soothingly",
    "carefully": "carefully | slowly | gently | cautiously | with great care",
    "quickly": "quickly | at once | right away | in a hurry | immediately | swiftly | hastily | without delay",
    "sad": "very sad | sad | worried | unhappy | upset | disappointed | troubled | miserable | sorrowful | gloomy",
    "happy": """
        happy | glad | proud | pleased | delighted | overjoyed | cheerful | excited | thrilled | grateful | relieved
    """,
    "afraid": "afraid | scared | frightened | nervous | terrified | anxious | alarmed",
    "good": """
        wonderful | lovely | beautiful | happy | perfect | splendid | marvelous | special | delightful | glorious
        | magical | fantastic | memorable | extraordinary
    """,
    "sad_sign": """
        A tear rolled down {his} cheek. | {He} wanted to cry. | {He} felt a lump in {his} throat.
        | {His} heart was heavy. | {He} began to sob. | {He} hid {his} face in {his} {hero.hands}.
        | {His} lip trembled. | {His} shoulders drooped. | {He} sniffled.
    """,
    "scared_sign": """
        {His} heart was beating fast. | {His} knees shook. | {He} wanted to run away. | {He} held {his} breath.
        | {His} teeth chattered. | {He} trembled like a leaf. | {He} swallowed hard. | A shiver ran down {his} back.
    """,
    "happy_sign": """
        {He} jumped for joy. | {He} was so happy that {he} danced. | {He} laughed out loud. | {His} face was shining.
        | {He} began to sing. | {He} clapped {his} {hero.hands}. | {He} turned a somersault.
        | {He} spun around and around. | {He} was beaming.
    """,
    "fast": """
        as fast as {he} could | like the wind | as quick as lightning | like an arrow | as fast as a hare
        | like a rocket | as swift as a swallow | like a racehorse
    """,
    "quiet": "as quiet as a mouse | without a sound | as silent as snow | quietly | in silence",
    "number": """
        two | three | four | five | six | seven | eight | nine | ten | eleven | twelve | twenty | fifteen | thirty
    """,
    "digits": "3 | 7 | 10 | 5 | 12 | 4 | 8 | 6 | 9 | 20 | 15 | 100 | 11 | 40",
    "weekday": "Monday | Saturday | Sunday | Friday | Tuesday | Wednesday | Thursday",
    # --- how stories begin and end ---
    "day": """
        One day | One day | One day | One morning | One {season.sky} morning | One {season.sky} day | One afternoon
        | Early one morning | One {weekday} | One {season.sky} {season} day
        | On a {season.sky} morning in {season.month} | One {season.sky} {weekday} | One fine day
    """,
    "closing": """
        It had been a {good} day. | That night, {hero} slept {soundly}. | {Hero} never forgot that day.
        | And {hero} lived happily ever after. | {Hero} went to bed with a smile. | For supper {hero} had {hero.meal}.
        | That night, {hero} dreamed of {topic}. | It was the end of a {good} day.
        | In the evening {hero} drank a cup of {drink} and thought about the {good} day.
        | That night, {hero} dreamed of {animals} and {topic}.
        | At {bedtime} o'clock {hero} fell asleep and dreamed of {animals}. | {Hero} told the story again and again.
    """,
    "bedtime": "[7|8|9|seven|eight|nine]",
    "soundly": """
        well | soundly | deeply | like a log | peacefully | until the rooster crowed | like a baby | like a dormouse
    """,
    "closing2": """
        They were friends for the rest of their lives. | And they lived happily ever after.
        | It had been a {good} day for both of them.
        | They [ate|shared] {hero.meal} and laughed until the stars came out.
        | They played together every day after that. | They never forgot that day.
        | In the evening they sat under a {tree} tree and told each other stories about {topic}.
        | They celebrated with {baked} and {drink}. | And if they have not moved away, they are friends to this day.
        | That night they both dreamed of {topic}.
    """,
    "thanks": """
        Thank you | Thank you so much | Thank you very much | Oh, thank you | Thank you with all my heart
        | Many thanks
    """,
    "help_me": "Please help me | Help me, please | Please do not leave me here",
    "found_out": "At last | Finally | In the end | After a long time",
    "just_then": "Just then | At that moment | A little later | Soon after that | Suddenly | All at once",
    # --- used by single plots ---
    "pet": "a gray cat | an old dog | three hens | a tame crow | a stubborn donkey",
    "neighbor": """
        an old neighbor | a passing farmer | a bird in the hedge | a wise old snail | the schoolteacher | a traveler
    """,
    "age": "five | six | seven | eight | nine | ten | 5 | 6 | 7 | 8 | 9 | 10",
    "ordinal": "third | fourth | fifth | seventh",
    "stuck": "kite | hat | balloon | scarf | cap | ribbon | shawl | paper plane",
    "hour": "twelve | one | two | eleven | three",
    "monster_size": "huge | grumpy | fierce | shaggy | terrible | enormous | green | gloomy",
    "scary": "ghost | dragon | wolf | giant | witch | robber | tiger | troll | crocodile | skeleton",
    "gift": """
        book about {topic} | kite | puzzle | {color} {wear} | music box | toy train | jar of {spread}
        | pair of {wear_pair} | telescope | globe | paint box | magnifying glass | snow globe | board game | toy truck
        | kaleidoscope | diary | birdhouse | hammock | magic wand | fishing rod | quilt | scooter | piggy bank
        | jigsaw puzzle | yo-yo
    """,
    "household_voice": "an old neighbor | the baker | a friend | the mayor | {family}",
    "wear_pair_winter": "boots | mittens | gloves | leggings",
    "lookalike": "the mayor | my uncle | the baker | an old sailor | my grandfather",
    "kept": """
        It was hard, but {hero} kept the secret. "I cannot tell you," {he} said. "I gave my word." {Friend} heard it
            and [smiled|nodded]. Every day they went {secret.where} {quiet}.
    """,
    "told": """
        {Hero} did not want to tell, but the words slipped out. Soon a whole crowd ran {secret.where}, and
            {secret.noisy}. {Friend} was [very sad|disappointed|upset]. "You broke your promise," {friend.he} said.
            {sad_sign} "I am so sorry," said {hero}. "I will make it right." {He} asked everybody to go home. Then
            {he} waited {quiet} for {number} hours, until {secret.back}. So {friend} forgave {him}.
    """,
    "stones": """
        "Let us pile up some stones," said {friend}. They built a tower of stones, and {hero} climbed up and got the
            {thing}.
    """,
    "ladder": """
        "Let us fetch a ladder," said {friend}. They leaned a ladder against the trunk, and {hero} climbed up and got
            the {thing}.
    """,
    "sticks": """
        "Let us take a long stick," said {friend}. They tied two sticks together, and {hero} pushed the {thing} down.
    """,
    "chore": """
        washing the dishes | sweeping the yard | feeding the hens | weeding the beds | fetching water | chopping wood
        | peeling potatoes | polishing the spoons | dusting the shelves | painting the fence | folding the laundry
        | shelling peas | milking the cow
    """,
    "obstacle": """
        {He} came to a wide river without a bridge, so {he} tied some logs together and paddled across on a raft.
        | A grumpy goat blocked the bridge. {He} gave it a {goat_food}, and it let {him} pass.
        | A thick fog covered the path, so {he} followed the sound of a brook.
        | {He} had to go through a dark tunnel. {He} sang loudly, and the echo sang along.
        | At a crossroads, {he} did not know where to go. A snail pointed the way with its horns.
        | At a gate an old guard asked, {riddle} said {hero}, and the guard let {him} through.
        | A steep cliff stood in the way, so {he} climbed up along a strong root, step by step.
        | A fallen tree lay across the road, so {he} crawled under it on {his} belly.
        | {He} came to a swamp and jumped from one tuft of grass to the next.
        | A hungry wolf stood on the path. {He} threw it {his} lunch and tiptoed past.
        | A big cold wind tried to push {him} back, but {he} bent forward and went on.
        | Thorny bushes grew across the path, so {he} bent them aside with a stick.
        | An angry swarm of wasps came buzzing, so {he} lay down flat in the grass until it was gone.
        | The old rope bridge swayed over a ravine. {He} did not look down and walked across.
    """,
    "goat_food": "turnip | carrot | cabbage leaf | lettuce leaf | pear",
    "riddle": """
        "What has hands but cannot clap?" "A clock!" | "What has a neck but no head?" "A bottle!"
        | "What has legs but cannot walk?" "A table!" | "What runs without feet?" "A river!"
    """,
}

# Things that belong together. Every row is "name; column: words; column: words". A line that is indented more goes on
# with the row above it.
TABLES = {
    # How stories begin.
    "OLD_START": """
        once; day: {Day}; text: Once upon a time there was a {who}. {about}
        lived; day: {Day};
            text: Once upon a time there was a {who} who lived in a {home_adj} {home} {landmark}. [|{about_self}]
        long ago; day: {Day};
            text: [Once upon a time|Long ago|Long, long ago], {in_old_times}, there lived a {who}. [|{about}]
        somewhere; day: {Day}; text: {hero.land} there [lived|was] a {who}. {about_self}
    """,
    "START": """
        one day; day: That [morning|day];
            text: One day a {who} [woke up early|woke up and stretched|was sitting in the sun]. [|{about}]
    """,
    "SEASON": """
        spring; month: March | April | May; sky: sunny | bright | mild | fresh | breezy | clear;
            nature: The first {spring_flower} were in bloom. | Lambs were skipping in the fields. | Fresh green grass
            covered the hills.
        summer; month: June | July | August; sky: hot | sunny | warm | bright | cloudless;
            nature: The {summer_flower} were in bloom. | The sun was high in the sky. | The strawberries were ripe.
        autumn; month: September | October | November; sky: cool | golden | windy | sunny | crisp | clear;
            nature: Red and yellow leaves were falling. | The pumpkins were round and ripe. | Chestnuts were dropping
            from the trees.
    """,
    "WINTER": """
        winter; month: January | February | December; sky: cold | frosty | icy | snowy; nature: Snow lay everywhere.
    """,
    # Places: what is going on there, and where something can hide.
    "WILD": """
        forest; to: to the forest; at: in the forest;
            life: a woodpecker was tapping on a trunk | a deer was nibbling the grass | a spider was spinning a web;
            spot: behind a fallen pine | between the roots of an oak | in a heap of dry leaves | inside a hollow stump |
            under a thorny bramble
        meadow; to: to the meadow; at: in the meadow;
            life: a hare was hopping through the clover | grasshoppers were chirping | a horse was swishing its tail;
            spot: in the tall grass | under a clump of clover | near the wooden fence | among the buttercups | in a dry
            ditch
        river; to: to the river; at: by the river;
            life: a duck was teaching ducklings to swim | a trout was leaping out of the water | dragonflies were
            darting about;
            spot: under the bridge | in the reeds | on a flat rock | behind a fallen willow | next to the little dock |
            beside the water wheel
        hill; to: to the hill; at: on the hill;
            life: sheep were nibbling the grass | a hawk was gliding through the air | goats were butting heads |
            crickets were chirping;
            spot: beside the stone wall | below a crooked pine | in a rabbit hole | under a thorny bush | next to the
            windmill
        lake; to: to the lake; at: by the lake;
            life: swans were gliding over the water | fish were jumping | ducks were diving for weeds | a family was
            having a picnic;
            spot: under a rowboat | among the cattails | behind a picnic table | behind a clump of rushes
    """,
    "PLACE": """
        park; to: to the park; at: in the park; life: a girl was riding a scooter | boys were kicking a ball;
            spot: under a bench | under the hedge | by the iron gate
        garden; to: to the garden; at: in the garden;
            life: bees were buzzing in the lavender | ants were marching along the path;
            spot: beside the wheelbarrow | behind the watering can | under the rhubarb leaves
        beach; to: to the beach; at: on the beach; life: a seal was lying on a rock | surfers were paddling out to sea;
            spot: between two rocks | under a striped umbrella
        market; to: to the market; at: at the market;
            life: a farmer was selling turnips | a peddler was selling ribbons;
            spot: behind a stack of baskets | next to the fish barrel | between two sacks of flour | under a wooden
            bench
        farm; to: to the farm; at: on the farm; life: geese were honking | a turkey was gobbling;
            spot: behind the barn | under the hay wagon | beside the pigpen | in a heap of straw
    """,
    # Things.
    "TREASURE": """
        kite; look: red | blue | green | paper
        ball; look: red | blue
        doll; look: little | wooden
        teddy bear; look: soft | brown | fuzzy
        hat; look: straw | green | pointed
        ring; look: golden | silver | tiny
        key; look: rusty | tiny
        book; look: thick | little | leather
        watch; look: silver | old
        compass; look: golden | old
        bell; look: silver | little | golden
    """,
    "SHARED": """
        ball; what: a big {color} ball; ask: May I play with your ball; mine: The ball is mine;
            alone: threw the ball against a wall, but the wall did not laugh, and nobody threw the ball back;
            together: threw the ball back and forth until the sun went down
        swing; what: a swing under a {tree} tree; ask: May I try your swing; mine: The swing is mine;
            alone: sat on the swing, but there was nobody to push {him}, and the swing hardly moved;
            together: took turns on the swing, and each of them flew up as high as the leaves
        basket; what: a whole basket of ripe {crop}; ask: May I have some of your {crop}; mine: The {crop} are mine;
            alone: ate all the {crop} alone, until {his} tummy hurt;
            together: picked a new basket of {crop} and ate them in the grass
        paints; what: a box of paints with {number} colors; ask: May I paint with you; mine: The paints are mine;
            alone: painted one picture after another, but there was nobody to look at them;
            together: painted a picture as long as a fence, with {animals} and {topic}
        rope; what: a long jump rope; ask: Can we jump rope together; mine: The rope is mine;
            alone: tied one end of the rope to a tree, but it came loose again and again;
            together: jumped and counted, and they got all the way to {digits}0
        boat; what: a rowboat with two oars; ask: May I come along in your boat; mine: The boat is mine;
            alone: rowed with all {his} might, but {his} arms grew tired, and the boat went around in circles;
            together: took one oar each, and the boat glided over the water like a swan
        blocks; what: a great big heap of wooden blocks; ask: May I build with you; mine: The blocks are mine;
            alone: built a tower, but it fell down every time, because nobody held it;
            together: built a castle with a bridge, a gate and {number} towers
        puppets; what: a set of {color} puppets; ask: May I play with the puppets, too; mine: The puppets are mine;
            alone: made the puppets talk, but nobody laughed and nobody clapped;
            together: put on a show about {topic}, and all the neighbors came to watch
    """,
    "BROKEN": """
        chair; what: a chair that {family} had made; part: a leg of the chair; fixer: carpenter;
            fix: made a new leg, drilled a hole and fastened the leg with glue and a screw
        cart; what: a cart for going to market; part: a wheel of the cart; fixer: wheelwright;
            fix: put in new spokes and hammered an iron rim around the wheel
        teapot; what: a teapot with {flowers} painted on it; part: the handle of the teapot; fixer: potter;
            fix: shaped a new handle from clay and baked it in the oven until it was hard
        puppet; what: a puppet with button eyes; part: an arm of the puppet; fixer: seamstress;
            fix: threaded a needle and sewed the arm on with tiny stitches
        umbrella; what: a big {color} umbrella; part: the handle of the umbrella; fixer: tinker;
            fix: bent a piece of wire, warmed it in the fire and pushed it into the handle
        clock; what: a cuckoo clock that was a hundred years old; part: one hand of the clock; fixer: clockmaker;
            fix: put the hand back with tiny tweezers and wound up the spring
        boot; what: a pair of boots for rainy days; part: the heel of the left boot; fixer: shoemaker;
            fix: cut a new heel from leather and fixed it with {number} little nails
        violin; what: a violin that was older than the king; part: the neck of the violin; fixer: violin maker;
            fix: glued the neck, tightened four new strings and tuned them one by one
    """,
    "FRAGILE": """
        vase; crash: A vase with {flowers} fell from the table and broke
        plate; crash: The best plate jumped off the shelf and broke
        jug; crash: A jug tipped over and broke into {number} pieces
        bowl; crash: A blue bowl rolled off the table and broke
        teacup; crash: A teacup with a golden rim fell down and broke
        piggy bank; crash: The piggy bank dropped from the dresser and broke
        mug; crash: A mug that hung on a hook fell down and broke
    """,
    # Creatures.
    "RESCUED": """
        mouse; where: past a barn; trouble: It had fallen into a deep jar and could not climb out;
            free: tipped the jar over until it could crawl out; left: scampered away;
            problem: dropped the key to {his} {home} through a crack in the floor;
            rescue: The mouse slipped through the crack and came back with the key
        crow; where: along a field; trouble: Its foot was caught in an old net; free: untied the knots, one by one;
            left: flew away; problem: lost the way in a thick fog;
            rescue: The crow flew ahead, cawing loudly, and led {him} safely home
        giant turtle; where: along a lake; trouble: It was lying on its back and could not turn over;
            free: turned it over with both hands; left: crawled away;
            problem: had to cross the lake, but the only boat had floated away;
            rescue: {He} sat down on its shell, and the giant turtle carried {him} across
        fish; where: along the shore of the sea; trouble: A wave had thrown it onto the sand;
            free: carried it back to the water with both hands; left: swam away;
            problem: dropped a golden ring into the sea;
            rescue: The fish dived down to the bottom and came up with the ring in its mouth
        deer; where: through a forest; trouble: Its antlers were caught in a thicket;
            free: bent the branches aside, one after the other; left: leaped away;
            problem: twisted an ankle, deep in the forest and far from home;
            rescue: {He} climbed on its back, and the deer carried {him} home
        bee; where: past a farm; trouble: It had fallen into a pail of water;
            free: held out a leaf until it had crawled to safety; left: buzzed away;
            problem: was far from home and so hungry that {he} could hardly walk;
            rescue: The bee led {him} to a hollow tree that was full of golden honey
        owl; where: past an old mill; trouble: Its wings were tangled in a kite string;
            free: cut the string with a pair of scissors; left: flew away;
            problem: was still in the forest when night fell, and {he} could not see the path;
            rescue: The owl could see in the dark, and it showed {him} the way from tree to tree
        fox; where: along a hedge; trouble: Its tail was stuck under a fallen gate;
            free: lifted the gate until the tail came out; left: slipped away;
            problem: could not find {his} little white goat anywhere;
            rescue: The fox sniffed at the ground, followed the trail over {number} hills and found the goat
        spider; where: through a garden; trouble: It was drifting on a leaf in the middle of a deep puddle;
            free: lifted it out with a twig; left: crept away;
            problem: tore {his} best coat on a nail, just before the great feast;
            rescue: The spider spun a silver thread and mended the coat so well that nobody saw the hole
    """,
    "PET": """
        kitten; cry: meowing; food: a saucer of milk; call: Fluff; happy: purred
        puppy; cry: whimpering; food: a piece of sausage; call: Biscuit; happy: wagged its tail
        lamb; cry: bleating; food: a handful of clover; call: Snowflake; happy: skipped around {him}
        foal; cry: neighing; food: a slice of apple; call: Star; happy: tossed its mane
        duckling; cry: peeping; food: some crumbs; call: Puddle; happy: flapped its wings
        hedgehog; cry: squeaking; food: a piece of pear; call: Prickle; happy: uncurled and sniffed at {him}
        piglet; cry: squealing; food: a boiled potato; call: Pickle; happy: curled its tail
        rabbit; cry: squeaking; food: a lettuce leaf; call: Velvet; happy: twitched its nose
    """,
    "VISITOR": """
        rabbit; came: hopping; food: hay and cabbage leaves
        deer; came: walking; food: hay and chestnuts
        hare; came: bounding; food: hay and turnips
        squirrel; came: darting; food: nuts and seeds
        wild goat; came: climbing; food: hay and dry bread
    """,
    "MISERY": """
        toothache; told: I have a terrible toothache;
            help: tied a thread around the bad tooth and pulled it out with one quick jerk; relief: The pain is gone
        loneliness; told: Everybody runs away from me, and I have no friends;
            help: stayed all day, told jokes and taught it a song about {topic};
            relief: I have not laughed for a hundred years
        thorn; told: There is a thorn in my foot, and I cannot reach it;
            help: pulled out the thorn with a pair of pliers and put a bandage on the foot; relief: I can walk again
        sleep; told: I cannot sleep, because I am afraid of bad dreams;
            help: sat down beside it and sang a lullaby about {animals}; relief: I have not slept so well for years
        cold; told: I have caught a cold, and nobody makes tea for me;
            help: cooked a huge kettle of {soup} soup and knitted a scarf as long as a road; relief: I feel warm again
        glasses; told: I sat on my glasses, and now I cannot read anymore;
            help: mended the glasses with wire and read it a book about {topic}; relief: Now I can see every letter
        hunger; told: I am hungry, and I do not know how to cook; help: showed it how to make {soup} soup and {baked};
            relief: I have never eaten anything so good
        hiccups; told: I have had the hiccups for three weeks;
            help: blew up a paper bag and popped it, so that {monster} jumped with surprise;
            relief: The hiccups are gone
    """,
    # What happens in single plots.
    "SHELTER": """
        cottage; seen: a little cottage with a light in the window; host: old woman;
            inside: A fire was crackling in the stove; gave: wrapped them in blankets and gave them {soup} soup
        barn; seen: a big red barn with an open door; host: farmer;
            inside: It smelled of hay, and a cow was chewing quietly;
            gave: made them a bed of straw and gave them warm milk
        cave; seen: a cave behind some bushes; host: old bear;
            inside: It was dry and quiet, and the floor was covered with moss;
            gave: let them lean against its warm fur and gave them honey and {fruits}
        mill; seen: an old mill by a stream; host: miller;
            inside: The great stones were still, and flour dust hung in the air;
            gave: baked {baked} for them and dried their wet clothes by the oven
        tent; seen: a round tent with a flag on top; host: juggler; inside: Colorful lanterns hung from the poles;
            gave: made cocoa for them and juggled with oranges and plates
        wagon; seen: a painted wagon under a bridge; host: peddler; inside: It was full of pots, ribbons and mirrors;
            gave: poured them hot tea and played the {instrument} for them
        hut; seen: a woodcutter's hut between the trees; host: woodcutter;
            inside: There was a table, a bench and a stack of firewood;
            gave: lit a fire and roasted chestnuts and {vegetables} for them
        hollow tree; seen: a hollow tree that was as wide as a room; host: old owl;
            inside: It was dry, and it smelled of bark and mushrooms;
            gave: spread its wings over them and told them a legend about {topic}
    """,
    "CURE": """
        flower; what: the blue flower; where: It grows at the top of the highest mountain;
            take: {He} picked it with great care; make: {He} made a cup of tea from its petals
        water; what: the water of the silver spring; where: It bubbles up behind the seventh hill;
            take: {He} filled a bottle and closed it with a cork; make: {He} poured the water into a glass
        honey; what: the honey of the wild bees; where: They live in the oldest oak of the great forest;
            take: The bees let {him} take a spoonful, because {he} asked nicely;
            make: {He} stirred the honey into hot milk
        berry; what: the red moonberry; where: It grows on an island in the middle of the lake;
            take: It shone like a lantern, and {he} wrapped it in a leaf; make: {He} boiled juice from the berry
        herb; what: the bitter mountain herb; where: It hides behind the great waterfall;
            take: {He} cut a single stem and left the root in the ground; make: {He} cooked a broth with the herb
        moss; what: the golden moss; where: It covers the stones in the valley of the giants;
            take: {He} scraped a little of it into a box; make: {He} brewed a drink from the moss
        milk; what: the milk of the white goat; where: The white goat lives where the clouds begin;
            take: The goat stood still, and {he} milked it into a can; make: {He} warmed the milk over the fire
        apple; what: the apple of the north wind; where: It hangs on a tree at the end of the world;
            take: {He} shook the tree, and the apple fell into {his} arms; make: {He} squeezed the juice from the apple
    """,
    "CONTEST": """
        race; what: a great race around the lake; practice: ran up and down the road;
            fail: {he} was out of breath after ten steps; boast: Nobody is as fast as I am;
            mishap: {rival} stumbled over a root and hurt {rival.his} knee;
            help: stopped, helped {rival.him} up and held {rival.his} arm;
            result: Side by side they crossed the finish line
        pie contest; what: a contest for the best pie; practice: baked a {pie} pie;
            fail: the crust was as black as coal; boast: My pies are the best in the land;
            mishap: {rival} had no sugar left; help: gave {rival.him} half of {his} own sugar;
            result: The judges tasted both pies twice and could not say which one was better
        kite contest; what: a contest for the kite that flew highest; practice: flew {his} kite on the hill;
            fail: the kite crashed into a tree; boast: My kite flies higher than the clouds;
            mishap: a gust of wind snapped the string of {rival.his} kite;
            help: caught the string and tied it to a piece of {his} own;
            result: Both kites stood side by side in the sky
        singing contest; what: a contest for the best singer; practice: sang songs about {topic};
            fail: {his} voice squeaked like a rusty door; boast: I sing more sweetly than a nightingale;
            mishap: {rival} was so nervous that {rival.he} forgot the words;
            help: stepped onto the stage and sang along with {rival.him};
            result: It was the most beautiful song of the day
        boat race; what: a boat race across the lake; practice: rowed around the island;
            fail: the boat turned in circles; boast: My boat is as quick as a fish;
            mishap: {rival} lost an oar, and {rival.his} boat began to drift away;
            help: threw {rival.him} a rope and pulled {rival.him} along;
            result: Both boats reached the shore at the same moment
        drawing contest; what: a contest for the best picture; practice: drew {animals} and {animals};
            fail: all the animals looked like potatoes; boast: I draw better than any artist;
            mishap: {rival} spilled a bottle of ink over {rival.his} picture;
            help: gave {rival.him} a fresh sheet of paper and {his} own brushes;
            result: The judges hung both pictures in the town hall
        dancing contest; what: a contest for the best dancer; practice: danced in front of a mirror;
            fail: {he} became dizzy and tripped over a stool; boast: I dance like a feather in the wind;
            mishap: {rival} found a big hole in {rival.his} shoe;
            help: lent {rival.him} {his} own shoes and danced barefoot;
            result: They danced so well that everybody stood up and cheered
        spelling contest; what: a spelling contest; practice: spelled words such as quilt, zebra, jigsaw and puzzle;
            fail: {he} mixed up all the letters; boast: I know every word in the dictionary;
            mishap: {rival} began to cough and could not say a word;
            help: brought {rival.him} a glass of water and asked the judges to wait;
            result: Both of them spelled every word correctly
    """,
    "SKILL": """
        ride a bicycle; fail: {he} wobbled and fell into the grass; tip: Look ahead, not at your feet;
            success: {He} rode all the way to the bridge without falling
        whistle; fail: only air came out; tip: Make your mouth as round as a cherry;
            success: Out came a clear, bright whistle
        swim; fail: {he} swallowed water and splashed about; tip: Move your legs like a frog;
            success: {He} swam from one side of the pond to the other
        juggle; fail: the balls landed on {his} nose; tip: Watch the highest ball;
            success: Three balls flew through the air, and not one of them fell
        play the violin; fail: it sounded like a cat with a stomachache; tip: Hold the bow as lightly as a feather;
            success: A sweet melody filled the air
        knit; fail: the wool turned into one big tangle; tip: In, around, through and off;
            success: {He} held up a whole scarf without a single hole
        read; fail: the letters danced before {his} eyes; tip: Let the letters hold hands;
            success: {He} read a whole page about {topic}
        bake bread; fail: the bread was as hard as a brick; tip: The dough needs a long nap;
            success: The loaf was golden and crisp, and it smelled like heaven
    """,
    "SECRET": """
        nest; what: a nest with {number} tiny eggs in the hedge; where: to the hedge;
            reason: the mother bird will be frightened; noisy: the mother bird flew away;
            back: the mother bird came back;
            later: the eggs cracked open, and hungry little beaks looked out of the nest
        kittens; what: a cat with {number} kittens behind the hay in the barn; where: to the barn;
            reason: the cat will be frightened; noisy: the cat hid its kittens under the roof;
            back: the cat came back with its kittens; later: the kittens opened their eyes and came out to play
        fawn; what: a little fawn in the thicket behind the mill; where: to the thicket;
            reason: the fawn will be frightened; noisy: the fawn ran off into the forest; back: the fawn came back;
            later: the fawn was so tame that it ate out of their hands
        flower; what: a flower that glows in the moonlight, down by the pond; where: to the pond;
            reason: someone will pick the flower; noisy: the flower closed its petals and stopped glowing;
            back: the flower lifted its head again; later: the flower opened and glowed like a little lamp
        owls; what: a family of owls in the old tower; where: to the tower; reason: the owls will be frightened;
            noisy: the owls fluttered out of the window; back: the owls came back to the tower;
            later: the young owls learned to fly and circled around the tower
        seal; what: a baby seal in the bay behind the rocks; where: to the bay; reason: the seal will be frightened;
            noisy: the seal dived under and did not come up again; back: the seal looked out of the water;
            later: the seal brought them a starfish as a present
        foxes; what: a den with {number} fox cubs under the old oak; where: to the oak;
            reason: the foxes will be frightened; noisy: the cubs ran back into the den;
            back: the cubs looked out of the den again; later: the cubs came out and tumbled about in the sun
    """,
    "PLANT": """
        sunflower; seed: a striped seed;
            grown: The stem grew taller than the {home}, and a flower as big as a plate opened at the top;
            shared: kept the seeds and gave a handful of them to every neighbor
        pumpkin; seed: a flat white seed;
            grown: A long vine crept over the fence, and a pumpkin as big as a barrel grew on it;
            shared: cooked soup for everyone and made a lantern from the shell
        bean; seed: a shiny spotted bean; grown: The beanstalk wound around a pole and was soon full of long green pods;
            shared: filled {number} baskets with beans and carried them to the neighbors
        apple tree; seed: a little brown seed;
            grown: It took years, but one day there was a real tree, and its branches were heavy with red apples;
            shared: put a bench under the tree and a basket of apples beside it for everyone who passed
        rose; seed: a seed like a tiny nut; grown: The bush grew thorns and leaves, and then {number} red roses opened;
            shared: tied the roses into a bouquet and gave them to {family}
        strawberry; seed: a seed as small as a grain of sand;
            grown: The plant put out white blossoms, and the blossoms turned into sweet red strawberries;
            shared: made jam and put a jar on every doorstep in the street
        melon; seed: a slippery black seed;
            grown: A green ball appeared between the leaves, and it swelled until it was a heavy round melon;
            shared: cut the melon into thick slices and called everybody to the table
        tomato; seed: a pale fuzzy seed;
            grown: The plant leaned on its stick, for it carried a hundred round red tomatoes;
            shared: made a salad in the biggest bowl and carried it around the village
    """,
    "GIVER": """
        golden fish; met: caught a golden fish in {his} net; free: Let me go; did: put it back into the water
        fairy; met: found a tiny fairy in a spider web; free: Set me free; did: untangled the sticky threads
        genie; met: dug up an old bottle with a genie inside; free: Pull out the cork; did: pulled out the cork
        elf; met: saw an elf under a heavy stone; free: Lift the stone; did: lifted the stone
        white bird; met: found a white bird in a cage; free: Open the cage; did: opened the little door
        magic frog; met: heard a magic frog at the bottom of a well; free: Pull me up; did: let down a bucket
    """,
    "WISH": """
        chocolate; wish: I wish that everything I touch would turn into chocolate;
            fun: {He} touched a spoon, a chair and a candle, and all of them turned into chocolate;
            trouble: {his} bread, {his} bed and even {his} water turned into chocolate, and {he} was very thirsty;
            lesson: too much of a good thing is no good at all
        giant; wish: I wish to be as tall as a tower;
            fun: {He} grew and grew, until {he} could look over the roofs and pat the clouds;
            trouble: {he} did not fit through any door, and nobody could hear what the others said to {him};
            lesson: everyone is just the right size
        feather; wish: I wish to be as light as a feather;
            fun: {He} floated over the fence and over the roofs and laughed;
            trouble: the wind blew {him} higher and higher, and {he} could not come down;
            lesson: it is good to have both feet on the ground
        birthday; wish: I wish that it was my birthday every day; fun: There was cake and music and a heap of presents;
            trouble: the cake soon made {him} sick, and the guests were tired of singing;
            lesson: a special day is only special when it does not come every day
        invisible; wish: I wish to be invisible;
            fun: {He} tickled people and moved the furniture, and nobody knew who did it;
            trouble: nobody saw {him}, nobody greeted {him}, and nobody set a plate for {him};
            lesson: it is nice to be seen
        toys; wish: I wish for all the toys in the world; fun: Dolls, drums, trains and kites fell from the sky;
            trouble: the {home} was full up to the ceiling, and there was no room left to play;
            lesson: one toy and one friend are better than a mountain of toys
        sun; wish: I wish that the sun would always shine;
            fun: There were no clouds anymore, and {he} could be outside all day long;
            trouble: the grass turned brown, the well was empty and the flowers wilted;
            lesson: we need the rain as well as the sun
        gold; wish: I wish for a house of pure gold; fun: The walls, the windows and even the chimney were made of gold;
            trouble: the golden bed was hard, the golden rooms were cold, and thieves came every night;
            lesson: a home needs warmth more than gold
    """,
    "NOISE": """
        branch; sound: tap, tap, tap; place: at the window; was: a branch that was tapping against the glass;
            deed: tied the branch back with a piece of string
        kitten; sound: scratch, scratch; place: behind the door; was: a little gray kitten that wanted to come in;
            deed: let it in and made a bed for it in a basket
        shutter; sound: bang, bang; place: at the back of the {home}; was: a loose shutter in the wind;
            deed: hooked the shutter to the wall
        owl; sound: hoo, hoo; place: up on the roof; was: a young owl with big round eyes;
            deed: wished it a good night and waved
        mouse; sound: crunch, crunch; place: in the pantry; was: a mouse that was eating a walnut;
            deed: gave it a crumb of cheese, too
        dog; sound: rrr, rrr, rrr; place: under the stairs; was: the old dog, who was snoring in its basket;
            deed: put a blanket over the dog
        hedgehog; sound: shuffle, shuffle; place: under the porch; was: a hedgehog with a leaf on its quills;
            deed: brought it a saucer of water
        wind; sound: whoo, whoo; place: in the chimney; was: the wind that was singing in the chimney;
            deed: listened to its song for a while
    """,
    "SWAP": """
        a thick warm blanket; has: a speckled feather; who1: poet; why1: needed a feather to write with;
            got1: a bottle of blue ink; who2: painter; why2: had no blue left for the sky; got2: a painting of a cow;
            who3: weaver; why3: had always wanted a cow
        a sack of flour; has: a reel of thread; who1: tailor; why1: had run out of thread; got1: a new apron;
            who2: cook; why2: was covered with sauce from top to toe; got2: a whole wheel of cheese; who3: miller;
            why3: was tired of eating dry bread
        a young goat; has: a bent horseshoe; who1: blacksmith; why1: needed a little iron; got1: a sharp knife;
            who2: wood carver; why2: could not cut anything with a blunt blade; got2: a wooden flute; who3: goatherd;
            why3: was bored on the mountain all day
        a cart of firewood; has: a jar of honey; who1: singer; why1: had a sore throat; got1: a silver bell;
            who2: milkmaid; why2: kept losing a cow in the fog; got2: a can of fresh milk; who3: woodcutter;
            why3: was thirsty from chopping
        a pair of boots; has: {digits} brown eggs; who1: pastry cook; why1: needed eggs for the batter;
            got1: a chocolate cake; who2: sailor; why2: had forgotten the captain's birthday; got2: a long strong rope;
            who3: shoemaker; why3: could not tie up a naughty donkey
        a bottle of medicine; has: a basket of mushrooms; who1: innkeeper; why1: wanted to cook mushroom soup;
            got1: a copper kettle; who2: candle maker; why2: needed a kettle for melting wax; got2: a box of candles;
            who3: druggist; why3: could not read the labels in the dark
        a pane of glass for the window; has: a ball of gray wool; who1: knitter;
            why1: had finished only one sock of two; got1: a woolly cap; who2: bald fisherman; why2: had a cold head;
            got2: {number} smoked herrings; who3: glazier; why3: loved herrings more than anything
    """,
    "CHEST": """
        {number} golden coins; use: They bought a new bell for the school and {baked} for everyone
        a dusty crown; use: They brought it to the museum, where everybody can see it today
        a recipe for the best {pie} cake in the world; use: They baked the cake and invited everyone they knew
        old tin soldiers, a spinning top and a letter: Please play with us; use: So they did, all afternoon
        a mirror and a note: Here you see the greatest treasure, two good friends;
            use: They looked into the mirror and made funny faces
        a bag of seeds from faraway countries;
            use: They planted the seeds, and the next year {flowers} bloomed that nobody had ever seen before
        a golden {instrument}; use: They learned to play it and made music at every festival
        the spyglass of a pirate; use: They took turns with it and looked at the moon and the stars
    """,
}
TABLES["START"] += TABLES["OLD_START"]
TABLES["PLACE"] += TABLES["WILD"]

PLOTS = {
    "a lost thing is found": """
        hero: {young}
        friend: {hero.friends}
        place: {hero.places}
        item: TREASURE
        item.look: {item.look}
        spot1, spot2, spot3: {place.spot}

        {start.text}
        [{Hero} had a {item.look} {item} that {he} loved very much.|{Family} had given {him} a {item.look} {item}, and
            {he} took it everywhere.]
        {start.day}, {hero} [went|ran] {place.to} [and took the {item} along|with the {item}].
        ? {Place.at}, {place.life}.

        But [when it was time to go home|after a while|when {he} sat down to rest], {he} saw that the {item} was gone!
        "[Oh no, where is my {item}|Where is my {item}]?" cried {hero}. {sad_sign}
        {He} looked {spot1} and {spot2}, but all {he} found was {junk}.
        {Just_then}, a {friend.who} came along. "[Why are you so sad|What is the matter|What is wrong|What are you
            looking for]?" asked {friend}.
        "I have lost my {item}," said {hero} {sadly}.
        "[Do not worry|Do not cry]," said {friend}. "[We will find it together|I will help you|Four eyes see more than
            two]."

        {Found_out}, {friend} looked {spot3}, and [there was the {item}|there it was, the {item.look} {item}]!
        "{Thanks}!" said {hero}. {happy_sign}
        {closing2}
    """,
    "a stranger helps back": """
        hero: {anyone}
        animal: RESCUED

        {start.text}
        {start.day}, {hero} was walking {animal.where}.
        ? {nature}
        {Just_then}, {he} heard a [faint|small|sad|thin] voice. It was a {animal}.
        {animal.trouble}. "{Help_me}," said the {animal}.
        "[Do not be afraid|I will help you]," said {hero} {kindly}. {Carefully}, {he} {animal.free}.
        "{Thanks}," said the {animal}. "[I will not forget this|One day I will help you, too|You have a good heart]."
            Then it {animal.left}.

        [A few weeks later|Some time later|Not long after that|{Number} days later], {hero} {animal.problem}. {sad_sign}
        {Just_then}, {he} heard a voice that {he} knew. It was the {animal}! "[Now I can help you|Let me help you]," it
            said.
        {animal.rescue}.
        "You helped me when I was in trouble," said the {animal}. "[So I helped you|Now we are even|That is what friends
            are for]."
        {closing}
    """,
    "learning to share": """
        hero: {young}
        friend: {hero.friends}
        parent: {family}
        crop: {fruits}
        toy: SHARED
        trait: {mind}, but not very generous

        {start.text}
        {Hero} had {toy.what}.
        {start.day}, a {friend.who} came by. "{toy.ask}?" {friend.he} asked. "No!" said {hero}. "{toy.mine}."
        [{Friend} hung {friend.his} head and went away.|{Friend} said nothing and walked slowly home.|So {friend} went
            away, and {friend.his} eyes were full of tears.]

        {Hero} {toy.alone}. [It was no fun at all.|Soon {he} was bored.]
        {Parent} said, "[Joy grows when you share it|Good things are better with a friend|Nobody is happy alone]."
        {Hero} thought about that for a long time.

        [The next morning|The next day], {he} ran to {friend} {fast}. "I am sorry," {he} said. "[I was selfish|I was not
            nice to you]. [Please come with me|Let us share]!"
        "[Yes, I would love to|Of course|With pleasure]," said {friend}.
        Together they {toy.together}.
        ? "This is much better than being alone," said {hero} {gladly}.
        {closing2}
    """,
    "a storm and a shelter": """
        hero: {young}
        friend: {hero.friends}
        place: WILD
        shelter: SHELTER

        {start.text}
        {Hero} had a good friend, a {friend.who}.
        {start.day}, the two friends went {place.to} [to pick berries|to pick {flowers}|to have a picnic|to play
            hide-and-seek|to look for [pebbles|feathers|chestnuts]].
        ? {Place.at}, {place.life}.

        [Then|Suddenly|In the afternoon], the sky turned [gray|dark|black]. [The wind howled in the trees.|The wind
            began to blow.|The wind howled; the trees creaked.|Thunder rumbled behind the hills.]
        "A storm is coming!" cried {friend}. [The first drops fell.|A flash of lightning crossed the sky.|Soon it was
            pouring with rain.]
        They [ran under a {tree} tree, but the rain came through the leaves|crawled under a bush, but the wind blew the
            branches aside|crouched behind a rock, but the rain came from all sides|hid in a ditch, but it filled with
            water].
        ? {Hero} was {afraid}. {scared_sign}

        {Found_out}, they saw {shelter.seen}. "[Come in, come in|Quick, come inside|Come in and get dry]!" called a
            {shelter.host}.
        {shelter.inside}. The {shelter.host} {shelter.gave}.
        [After an hour|When the evening came|Before long], the rain stopped, and a rainbow [stood|hung] over the
            [hills|fields|treetops].
        The friends thanked the {shelter.host} and walked home through the puddles.
        {closing2}
    """,
    "a broken thing is mended": """
        hero: {anyone}
        thing: BROKEN

        {start.text}
        {Hero} had {thing.what}.
        {start.day}, [there was a loud crack|{hero} heard a crack|something went crack], and {thing.part} broke off.
        "[Oh dear|Oh no|What bad luck]!" said {hero}. {He} was {sad}.
        {He} tried to mend it with [string, but the knot came loose|a ribbon, but the ribbon tore|glue, but it did not
            hold|honey, but it only made a sticky mess|wax, but it melted in the sun|clay, but it crumbled].

        So {he} went to the {thing.fixer}.
        "[Can you mend this|Please, can this be repaired|Is there any hope]?" asked {hero}.
        "[That is not so bad|Nothing is too broken to mend|We can do it]," said the {thing.fixer}. "[Watch closely|Look
            how I do it|You can help me]."
        The {thing.fixer} {thing.fix}. {Hero} held the tools and learned a lot.
        {Found_out}, it was [as good as new|even better than before|ready].
        ? ["{Digits} pennies," said the {thing.fixer}, "and a smile."|"It costs one {pie} pie," said the {thing.fixer}.]

        [A month later|Not long after that|The next week], a neighbor came with a broken
            [toy|basket|stool|broom|rake|shovel], and {hero} knew [just|exactly] what to do.
        {closing}
    """,
    "a journey for a cure": """
        hero: {young}
        parent: {family}
        cure: CURE

        {start.text}
        But {parent} was [ill|very ill|sick in bed] and [coughed all night|had a high fever|could not get up|did not
            want to eat].
        "Only {cure.what} can help," said [an old doctor|a wise old neighbor|the village nurse]. "{cure.where}."
        "[I will go and get it|I am not afraid|I will bring it]," said {hero}. {He} packed some {baked} and set out.

        {walk}
        {obstacle}
        {obstacle}
        ? {nature}
        ? [In the evening {he} slept under a {tree} tree.|{He} walked all day and all night.|{His} feet hurt, but {he}
            did not give up.]

        {Found_out}, {hero} [found {cure.what}|stood before {cure.what}]. {cure.take}.
        Then {he} ran home {fast}. {cure.make}, and {parent} [drank it to the last drop|drank it slowly|took a sip and
            smiled].
        [The next morning|After three days|When the sun came up], {parent} [was well again|felt much better|could laugh
            and dance again].
        ? "[What a brave child you are|How far you went for me]!" said {parent} and hugged {him}.
        {closing}
    """,
    "a contest": """
        hero: {young}
        rival: {hero.friends}
        contest: CONTEST

        {start.text}
        {start.day}, {hero} [saw a notice on a tree|saw a poster on a wall|heard great news]: there was going to be
            {contest.what}!
        "[I want to try that|I will take part]," said {hero}. From then on, {he} {contest.practice} every day.
        At first, {contest.fail}, but [{hero} did not give up|{he} tried again and again|every day it went a little
            better].

        On the day of the contest, a {rival.who} was there, too. "{contest.boast}," said {rival} and laughed.
        ? {Hero} was {afraid}. {scared_sign}
        [The trumpet sounded|A bell rang|The mayor waved a flag|The drums rolled], and it began. But then
            {contest.mishap}.
        [{Hero} did not think twice.|{Hero} felt sorry for {rival}.|Nobody else helped.] {He} {contest.help}.
        ? "Why are you helping me?" asked {rival}. "[Because you need help|It is more fun together|Winning is not
            everything]," said {hero}.

        {contest.result}. [Both of them got a prize.|So they shared the prize.|And {hero} got a medal for the kindest
            heart.]
        {closing2}
    """,
    "a secret": """
        hero: [ROYAL|CHILD]
        friend: CHILD
        secret: SECRET

        {start.text}
        {start.day}, a {friend.who} whispered in {his} ear, "I have found {secret.what}. Please do not tell anyone, or
            {secret.reason}."
        "I promise," said {hero}. [Then the two crept {secret.where} and looked.|They went {secret.where} and watched
            for a long time.] It was [beautiful|wonderful|a lovely sight].

        [The next day|At supper|In the evening|On {weekday}], everybody asked, "What are you two whispering about?"
        [{kept}|{told}]

        Some weeks later, {secret.later}.
        [A secret is safe with a good friend.|Now {hero} knew: a promise is a promise.|"I can trust you," said {friend},
            and that made {hero} [very happy|happy|proud].]
        {closing2}
    """,
    "a frightened animal": """
        hero: [ROYAL|CHILD]
        place: PLACE
        pet: PET
        pet.call: {pet.call}
        spot: {place.spot}

        {start.text}
        {start.day}, {hero} went {place.to}. {Place.at}, {place.life}.
        {Just_then}, {he} heard something {pet.cry}. {He} looked around, and there was a little {pet} {spot}!
        It was shaking with fear. [A clap of thunder had frightened it.|A big dog had chased it.|It had lost its
            mother.|A noisy cart had scared it.]

        "[Come here, little one|Come to me]," called {hero}, but the {pet} [crept back|backed away|hid its face].
        ? {He} [tried to grab it, but it wriggled away|clapped {his} hands, but that was even worse|took a step closer,
            but it trembled even more].
        Then {hero} had an idea. {He} sat down and [hummed a song|did not move at all|told it a story about {topic}].
        After a while, {he} held out {pet.food}. The {pet} took one step, then two steps, then three. Then it began to
            eat.
        {Hero} stroked [its back|its head] {carefully}, and the {pet} {pet.happy}.

        [{He} took it home, and {family} said that it could stay.|Nobody knew where it came from, so it came to live
            with {him}.]
        {Hero} called it {pet.call}. [It slept in a basket beside {his} bed.|It followed {him} wherever {he} went.|It
            was never afraid again.]
        {closing}
    """,
    "a birthday surprise": """
        hero: {young}
        friend: {hero.friends}
        age: {age}
        today: {weekday}

        {start.text}
        [At last it was|One {today} in {season.month} it was] {his} birthday, and {he} was {age} years old. But nobody
            [said a word about it|seemed to remember it].
        {He} went to see a {friend.who}, {his} best friend. "[Do you know what day it is|Is today a special day]?" asked
            {hero}.
        "It is {today}," said {friend}. "I am sorry, I [have a lot to do|have no time|have to water the {flowers}|must
            go to the market]." And {friend.he} hurried away.
        {Hero} walked around alone.
        {sad_sign}
        ? {walk}
        "They have forgotten me," said {hero} {sadly}.

        In the [evening|afternoon], {hero} came home. [Everything was dark.|It was very quiet.|There was no light in the
            window.] {He} opened the door {carefully}.
        "Surprise!" shouted [many voices|everyone at once|a crowd of friends]. There were
            [candles|lanterns|balloons|paper chains] everywhere,
        and on the table stood a [huge|big|round] {pie} cake with {age} candles.
        "[You did not forget me|So that is why you had no time]!" said {hero}. {happy_sign}
        There were presents, too: a {gift}, a {gift} and a {gift}.
        {closing2}
    """,
    "planting and waiting": """
        hero: {anyone}
        plant: PLANT

        {start.text}
        {start.day}, {hero} [found|bought] {plant.seed}. "[I wonder what will grow from it|Something wonderful is
            sleeping in there]," {he} said.
        {He} dug a hole with a [spade|trowel|spoon], put the seed in the earth and [watered it|covered it up].

        {He} [waited|waited and waited] for {number} days, but there was only [brown|black|bare] earth.
        {He} [sang to it|shouted at it|danced around it], but nothing came up. {He} was {sad}.
        "[Good things take time|Give it sun, water and patience|The best things grow slowly]," said {neighbor}.
        So {hero} pulled out the weeds and watered the spot every {weekday}. [The rain fell, and the sun shone.|Clouds
            came and went.|The days grew longer and warmer.]

        One morning, there was a tiny green sprout! {happy_sign}
        ? [A snail wanted to eat it, but {he} carried the snail to the meadow.|A storm bent it, but {he} tied it to a
            stick.]
        It grew and grew. {plant.grown}.
        "[It was worth the wait|Look what came out of one little seed]!" said {hero}. {He} {plant.shared}.
        {closing}
    """,
    "a foolish wish": """
        hero: {anyone}
        giver: GIVER
        wish: WISH
        trait: {mind}, but never content

        {start.text}
        {start.day}, {hero} {giver.met}. "{giver.free}," it [said|begged|called], "and I will grant you a wish!"
        So {he} {giver.did}. "[What do you wish for|What shall it be]?" asked the {giver}.
        "{wish.wish}," said {hero}. [There was a flash of light.|There was a puff of smoke.|The air began to glitter.]

        {wish.fun}. {He} was {happy}.
        But then {wish.trouble}. {He} was {sad}.
        So {hero} went back and called the {giver}. "Please, [take the wish back|make everything as it was before],"
            {he} begged.
        The {giver} nodded, and everything was as it had always been.

        {Hero} [ran|hurried] home. {happy_sign} [Never before had {hero.meal} tasted so good.|Never before had {he}
            liked {his} {home} so much.|]
        Now {he} knew that {wish.lesson}.
        {closing}
    """,
    "a new friend": """
        hero: {young}
        friend: {hero.friends}
        trait: {heart}, but very shy
        hobby: {hero.hobby}
        place: {hero.places}

        {start.text}
        {Hero} had just moved to a new home and had no friends yet.
        {start.day}, {he} went {place.to}. {Place.at}, {place.life}.
        There {he} saw a {friend.who}, who was [laughing|singing|playing] with the others. {Hero} wanted to say hello,
            but {he} was too shy. {scared_sign}

        [The next day|On {weekday}] {he} came back and took a deep breath. {He} walked up to {friend} and [smiled|held
            out a bag of {baked}|offered {friend.him} some {fruits}].
        "Hello," {he} said. "My name is {hero.name}. I like to {hobby}."
        "[Really|Is that true]?" said {friend}. "I like to {hobby}, too! [I was hoping that you would talk to me|Nobody
            else here likes that]."
        [They began at once.|They talked and talked until the sun went down.|So they went off together, and {hero} was
            not shy anymore.]
        ? "I am glad that you said hello," said {friend} {gladly}.
        {closing2}
    """,
    "telling the truth": """
        hero: [ROYAL|CHILD]
        parent: {family}
        vase: FRAGILE

        {start.text}
        {start.day}, {hero} was playing with a [ball|hoop|wooden sword|balloon] in the {home}. Crash! {vase.crash}.
        {Quickly}, {he} [hid the pieces under the carpet|swept the pieces behind the curtain|put the pieces into a
            drawer|threw the pieces into the bushes].
        In the evening {parent} asked, "Where is the {vase}?" "[The cat did it|The wind did it|I do not know]," said
            {hero} and [turned red|looked at the floor].

        But that night {hero} could not sleep. {His} [tummy|heart] felt [heavy|strange]. {He} [counted {animals}|thought
            about {topic}], but it did not help.
        {Found_out}, {he} went to {parent} and said {sadly}, "It was me. I broke the {vase}, and I lied. I am sorry."
            {scared_sign}
        "[The {vase} was only a thing|Anybody can break something]," said {parent} {kindly}. "[But the truth is worth
            more than gold|But it takes courage to tell the truth|But I am proud that you told me]."

        The next day they [glued the pieces together|bought a new {vase} for {digits} coins]. To make up for it, {hero}
            helped with {chore} and {chore}.
        [That night, {hero} slept {soundly}.|And {hero} felt as light as a feather.|From then on, {hero} always told the
            truth.]
    """,
    "a noise in the night": """
        start: OLD_START
        hero: [ROYAL|CHILD]
        noise: NOISE
        monster: {scary}
        trait: {heart}, but afraid of the dark

        {start.text}
        One [dark|windy|stormy] night, {hero} woke up. There was a noise {noise.place}: {noise.sound}!
        {scared_sign} [It was pitch dark.|The moon was behind the clouds.|The clock struck {hour}.]
        "[Maybe it is|I am sure it is] a {monster}," {he} thought, "with [long teeth|sharp claws|glowing eyes|huge
            feet]."

        {He} [pulled the blanket over {his} head|hid under the pillow|put {his} fingers in {his} ears], but the noise
            went on: {noise.sound}!
        {He} [called for {family}, but everyone was asleep|called, "Go away!" but it did not go away|hugged {his} teddy
            bear, but the bear was afraid, too].
        "[I have to be brave|I must see what it is|Even a {monster} can be polite]," said {hero}. {He} lit a
            [candle|lamp|lantern] and went to look.
        Step by step {he} came closer. It was no {monster} at all. It was only {noise.was}!
        {Hero} laughed. {He} {noise.deed}. Then {he} went back to bed and slept {soundly}.
        [From then on, {hero} was not afraid of the dark.|After that, {hero} liked the night and its noises.|Never again
            did {hero} hide under the blanket.]
    """,
    "learning something hard": """
        hero: {young}
        teacher: {hero.friends}
        skill: SKILL

        {start.text}
        {Hero} wanted to learn to {skill}. But whenever {he} tried, {skill.fail}. "I will never learn it," said {hero}
            {sadly}.
        {start.day}, a {teacher.who} came by, who could {skill} very well. "[I could not do it at first, either|Nobody
            can do it the first time]," said {teacher}. "Shall I show you?"

        On the first day, {teacher} stayed at {his} side. "{skill.tip}," {teacher.he} said. But again {skill.fail}.
        On [{weekday}|the {ordinal} day] {he} was so tired that {he} wanted to stop. "[One more time|Do not give up
            now|Practice makes perfect|Slow and steady wins the race|Where there is a will, there is a way]," said
            {teacher} {kindly}.
        {Hero} took a deep breath and tried once more. {skill.success}! "I can do it!" [cried|shouted] {hero}.
            {happy_sign}

        [A year later|Some months later], [a little neighbor|a small cousin|a young visitor] wanted to learn it, too.
            "It is too hard," said the little one.
        "[I thought so, too|I said the same thing once]," said {hero}. "Come, I will show you."
        {closing}
    """,
    "a monster in trouble": """
        hero: {anyone}
        monster: MONSTER
        misery: MISERY

        {start.text}
        But [high up on the mountain|not far away|beyond the hills] lived a {monster_size} {monster.kind}. It roared so
            loudly that [the windows rattled|the cups danced on the shelves|nobody could sleep].
        ? [The soldiers ran away.|The mayor hid in a barrel.|The guards locked all the gates.|Even the knights came back
            without their boots.]
        "Maybe it only needs help," said {hero}. {start.day}, {he} set out to see it.

        {obstacle}
        ? {nature}
        {Found_out}, {he} came to the {monster.home}. There sat {monster}, and [smoke|steam] came out of its nose.
            {scared_sign}
        "[Who are you|What do you want]?" roared {monster}. "My name is {hero.name}," said {hero} {kindly}. "Why do you
            roar?"
        "{misery.told}," said {monster}, and a big tear rolled down its cheek.
        "I can help you," said {hero}. {He} {misery.help}.
        "{misery.relief}!" said {monster}. "{Thanks}!"

        From then on, nobody had to be afraid. {Monster} [lit the stoves in winter|carried heavy stones for the
            people|chased the robbers away|pulled the plow in spring|gave the children rides on its back].
        {closing}
    """,
    "a chain of swaps": """
        hero: [CHILD|GROWN]
        swap: SWAP

        {start.text}
        {Hero} was poor, and {he} needed {swap}. All {he} had was {swap.has}. {start.day}, {he} went to the market.

        First {he} met a {swap.who1}, who {swap.why1}. "[Please give it to me|That is just what I need]," said the
            {swap.who1}. "You can have {swap.got1} for it."
        {Hero} [nodded|agreed] and went on. Soon {he} met a {swap.who2}, who {swap.why2}. "[Shall we swap|Will you swap
            with me]?" asked the {swap.who2}. "I will give you {swap.got2}."
        {Hero} [thanked the {swap.who2}|shook hands with the {swap.who2}]. At the [end|edge] of the market [sat|stood] a
            {swap.who3}, who {swap.why3}.
        "If you give that to me, you can have {swap}!" said the {swap.who3}.

        So {hero} came home with {swap}. {happy_sign}
        ? "How did you do it?" asked {household_voice}. "I gave everyone what they needed," said {hero}.
        {closing}
    """,
    "a treasure map": """
        hero: {young}
        friend: {hero.friends}
        place: WILD
        chest: CHEST
        tree: {tree}

        {start.text}
        {start.day}, {hero} found an old map [in a bottle|behind a loose stone|in a cracked jar|under a root].
        "Go {place.to}," said the map. "Walk {digits} steps [north|south] from the {tree} tree, then {digits} steps
            [east|west]. X marks the spot."
        {Hero} took a shovel and ran to a {friend.who}, {his} best friend. "Will you come with me?" "[Of course|Yes, let
            us go]!" said {friend}.
        ? {Place.at}, {place.life}.

        They counted the steps and began to dig. But all they found was {junk}. {Hero} was {sad}.
        "Wait a moment," said {friend}. "[You are holding the map upside down|You counted wrong|We went the wrong way]!"
            They counted again and came to [a mossy stone|an old stump|a thorny bush|a heap of leaves].
        They dug [as fast as they could|deeper and deeper], and clunk, the shovel hit something hard. It was a wooden
            chest!

        Inside they found {chest}. {chest.use}.
        [|"The best part was looking for it with you," said {hero}.|"[Many hands make light work|Good friends help each
            other]," said {friend} {gladly}.]
        {closing2}
    """,
    "the nose of the snowman": """
        start: OLD_START
        season: WINTER
        hero: [ROYAL|CHILD]
        friend: CHILD
        visitor: VISITOR

        {start.text}
        [One {season.sky} morning, everything was white.|It was {season.month}, and everything was white.] It had snowed
            all night! {Hero} put on {his} {color} {wear_pair_winter} and ran outside.
        There {he} met a {friend.who}. "Shall we build a snowman?" asked {friend}. "[Oh yes|Of course|Yes, a big one]!"
            said {hero}.
        They rolled three big balls of snow. For the eyes they took two [buttons|chestnuts|pieces of coal|pebbles], and
            for the nose a long carrot.
        ? "It looks like {lookalike}," said {hero} and laughed.

        The next morning, the nose was gone! They gave the snowman a new nose, and the next day that was gone, too.
        "[We must find the thief|I have a plan]," said {friend}. So they hid behind a [wall|hedge|sled|snowdrift] and
            waited {quiet}.
        {Just_then}, a thin {visitor} came {visitor.came} through the snow. It stretched its neck and ate the nose!

        "[It is not a thief|Look, it is only hungry]," whispered {hero}. {Quickly}, they fetched {visitor.food} and put
            them beside the snowman.
        From then on, the {visitor} came every day, and the snowman kept its nose.
        {closing2}
    """,
    "stuck in a tree": """
        hero: {young}
        friend: {hero.friends}
        thing: {stuck}

        {start.text}
        {start.day}, the wind carried {his} {color} {thing} into a {tree} tree. {Hero} jumped, but the branch was too
            high.
        {He} [shook the trunk|threw a stick|pulled at a branch|tried to climb up], but the {thing} did not come down.
            {sad_sign}
        {Just_then}, a {friend.who} came by. [{stones}|{ladder}|{sticks}]
        "{Thanks}!" said {hero}. "[Two heads are better than one|Together it is easy|It was a pleasure]," said {friend}
            {gladly}.
        {closing2}
    """,
    "a quarrel": """
        hero: {young}
        friend: {hero.friends}
        these, those: {topic}
        trait: {mind}, but very stubborn

        {start.text} {Hero} had a best friend, a {friend.who}.
        {start.day}, they quarreled. "{These} are better than {those}!" said {hero}. "No, {those} are better!" said
            {friend}. They were so angry that they both went home.
        {Hero} wanted to {hero.hobby}, but alone it was [boring|not much fun|no fun at all].
        So {he} went to look for {friend}.
        ? {walk}
        On the [bridge|road|path], {friend} came toward {him}. "I am sorry," they both said at the same time, and then
            they had to laugh.
        They made up a story about {these} and {those}, and it was the best story of all.
        {closing2}
    """,
    "a present without money": """
        hero: {young}
        parent: {family}

        {start.text}
        {Hero} wanted to give {parent} a present, but {he} had only {digits} [pennies|coins].
        ? {nature}
        In the shop there was a fine {gift}, but it was too expensive. There was a {gift}, too, but that cost even more.
            {sad_sign}
        Then {hero} had an idea. {He} [picked a bunch of {flowers}|made a necklace of
            [shells|feathers|buttons|chestnuts]|painted a picture of {animals}|baked some {baked}|wrote a poem about
            {topic}] and ran home {fast}.
        ? {walk}
        "It is only [something small|a little thing]," said {hero} {sadly}. "It is the most beautiful present of all,"
            said {parent}, "because you made it for me."
        And {hero} was [very happy|happy and proud|so happy that {he} danced].
        {closing}
    """,
    "counting sheep": """
        start: OLD_START
        hero: {young}
        parent: {family}
        sheep: {animals}
        dream: {being}

        {start.text}
        One [warm|windy|quiet|dark] night, {hero} could not sleep. "Count {sheep}," said {parent}. So {hero} counted
            {number} {sheep}, but then {he} lost count and had to begin again.
        "Drink a cup of {drink}," said {parent}. {Hero} drank it, but then {he} was wide awake.
        "Think of something nice," said {parent}. {Hero} thought of {dream}, but that was much too exciting.
        Then {parent} sat down on the bed and sang a song, [slowly and softly|very quietly]. The {sheep} lay down, the
            {dream} went home, and the moon looked in at the window.
        "Good night," whispered {parent}, but {hero} was already asleep.
    """,
}
