"""A shadow version whose file is damaged at a restart costs no live prediction, on Apache Kafka: status says which version waits
and why, and the shadow scores what waits once its directory is mended.
"""

import json

from conftest import wait_for
from test_apply import apply, clicks, total
from test_model_remedies import Shop, flipped, published

LIMIT = 10


def test_a_shadow_whose_model_is_damaged_stops_no_live_prediction_and_scores_once_it_is_mended(servers, kafka, tmp_path):
    shop = Shop(servers, kafka, tmp_path, FOREBAY_INFERENCE_PENDING_MAX_RECORDS=str(LIMIT))
    shop.server.start()
    shop.models.write(1)
    shop.models.write(2)
    apply(shop.server, shop.models.create(1), shop.models.create(2), shop.deployment(1, [2]))
    shop.scores(1)
    shadows = f"{shop.topic}.predictions.shadow"
    wait_for(lambda: shop.versions(shadows) == [2], lambda: f"the shadow's; {shop.versions(shadows)}")
    shop.server.stop()

    def deployment():
        return shop.server.client.status()["deployments"]["spender"]

    flipped("model.json")(shop.models.folder(2))
    shop.server.start()
    shop.scores(1)
    wait_for(lambda: deployment()["state"] == "retrying" and deployment()["reason"].startswith("version 2 (shadow): "),
             lambda: f"the shadow waits; {deployment()}")
    assert "version 1: " not in deployment()["reason"], deployment()
    # Beyond the limit of what waits for the shadow: only its events get notes.
    for _ in range(2 * LIMIT):
        shop.scores(1)
    assert clicks(shop.server) == total(shop.clicks)
    wait_for(lambda: deployment()["state"] == "suspended", lambda: f"the shadow is full; {deployment()}")
    waits, lost = deployment()["pending"], deployment()["unscored"]["suspended"]
    assert waits >= LIMIT and waits + lost == shop.clicks - 1, deployment()
    assert shop.versions(shadows) == [2]

    shop.server.stop()
    shop.models.write(2)
    shop.server.start()
    wait_for(lambda: len(shop.versions(shadows)) == 1 + waits and deployment()["state"] == "scoring",
             lambda: f"{waits} wait; {deployment()}")
    shop.scores(1)
    wait_for(lambda: len(shop.versions(shadows)) == 2 + waits, lambda: f"the next one; {shop.versions(shadows)}")
    for topic, count in ((f"{shop.topic}.predictions", shop.clicks), (shadows, 2 + waits)):
        ids = [json.loads(value)["prediction_id"] for value in published(kafka, topic)]
        assert len(ids) == len(set(ids)) == count
