SELECT
  "t25"."prospect_id",
  "t25"."as_of",
  "t25"."p_source" AS "source",
  "t25"."a_headcount" AS "account_headcount",
  COALESCE("t25"."x4d5fefcee35adb87", 0.0) AS "mail_count_7d",
  CASE
    WHEN "t25"."p_account_id" IS NULL
    THEN CAST(NULL AS DOUBLE)
    ELSE COALESCE("t25"."xece9ef6bb26c38dc", 0.0)
  END AS "account_event_sum",
  "t25"."x945bdd2fc518de52" AS "buyer_event_last",
  COALESCE("t25"."xb6d879187c05d69d", 0.0) AS "event_distinct_contacts_30d",
  "t25"."x74917c6ad0ba8793" AS "inbound_web_event_days_since_last",
  CASE
    WHEN "t25"."p_account_id" IS NULL
    THEN CAST(NULL AS DOUBLE)
    ELSE "t25"."x665f9d21f8246096"
  END AS "account_mail_share_30d",
  CAST("t25"."as_of" - "t25"."p_created_at" AS DOUBLE) / 86400000000.0 AS "days_since_created_at",
  CASE
    WHEN ISINF(COALESCE("t25"."x66892668371285e4", 0.0) / NULLIF("t25"."a_headcount", 0.0))
    THEN CAST(NULL AS DOUBLE)
    ELSE COALESCE("t25"."x66892668371285e4", 0.0) / NULLIF("t25"."a_headcount", 0.0)
  END AS "event_count_per_account_headcount",
  CAST(0 + CAST("t25"."a_headcount" >= 10.0 AS BIGINT) + CAST("t25"."a_headcount" >= 50.0 AS BIGINT) AS DOUBLE) AS "account_headcount_band",
  CAST((
    DAYOFWEEK(
      EPOCH_MS(
        CAST((
          "t25"."as_of" - (
            (
              (
                "t25"."as_of" % 1000
              ) + 1000
            ) % 1000
          )
        ) / 1000 AS BIGINT)
      )
    ) + 6
  ) % 7 AS DOUBLE) AS "as_of_weekday"
FROM (
  SELECT
    "t11"."prospect_id",
    "t11"."as_of",
    "t12"."p_prospect_id",
    "t12"."p_created_at",
    "t12"."p_observed_at",
    "t12"."p_account_id",
    "t12"."p_source",
    "t12"."p_regime",
    "t12"."p_approach",
    "t12"."p_tender_deadline",
    "t12"."p_tender_announced_at",
    "t12"."p_origin",
    "t12"."p_fit",
    "t12"."p_flagged",
    "t12"."p_remark",
    "t12"."p_valid_from",
    "t12"."p_valid_to",
    "t14"."a_account_id",
    "t14"."a_observed_at",
    "t14"."a_country",
    "t14"."a_industry",
    "t14"."a_headcount",
    "t14"."a_headcount_band",
    "t14"."a_revenue",
    "t14"."a_founded_on",
    "t14"."a_legal_form",
    "t14"."a_public_body",
    "t14"."a_siren",
    "t14"."a_siret",
    "t14"."a_company_category",
    "t14"."a_headcount_band_year",
    "t14"."a_local_authority",
    "t14"."a_tier",
    "t14"."a_growth",
    "t14"."a_valid_from",
    "t14"."a_valid_to",
    "t24"."event_prospect_id",
    "t24"."event_as_of",
    "t24"."x4d5fefcee35adb87",
    "t24"."xece9ef6bb26c38dc",
    "t24"."x945bdd2fc518de52",
    "t24"."xb6d879187c05d69d",
    "t24"."x74917c6ad0ba8793",
    "t24"."x665f9d21f8246096",
    "t24"."x66892668371285e4"
  FROM (
    SELECT
      *
    FROM "memory"."main"."spine" AS "t0"
  ) AS "t11"
  LEFT OUTER JOIN (
    SELECT
      "t1"."prospect_id" AS "p_prospect_id",
      "t1"."created_at" AS "p_created_at",
      "t1"."observed_at" AS "p_observed_at",
      "t1"."account_id" AS "p_account_id",
      "t1"."source" AS "p_source",
      "t1"."regime" AS "p_regime",
      "t1"."approach" AS "p_approach",
      "t1"."tender_deadline" AS "p_tender_deadline",
      "t1"."tender_announced_at" AS "p_tender_announced_at",
      "t1"."origin" AS "p_origin",
      "t1"."fit" AS "p_fit",
      "t1"."flagged" AS "p_flagged",
      "t1"."remark" AS "p_remark",
      "t1"."valid_from" AS "p_valid_from",
      "t1"."valid_to" AS "p_valid_to"
    FROM "prospects" AS "t1"
  ) AS "t12"
    ON "t11"."prospect_id" = "t12"."p_prospect_id"
    AND "t12"."p_valid_from" <= "t11"."as_of"
    AND "t12"."p_valid_to" > "t11"."as_of"
  LEFT OUTER JOIN (
    SELECT
      "t2"."account_id" AS "a_account_id",
      "t2"."observed_at" AS "a_observed_at",
      "t2"."country" AS "a_country",
      "t2"."industry" AS "a_industry",
      "t2"."headcount" AS "a_headcount",
      "t2"."headcount_band" AS "a_headcount_band",
      "t2"."revenue" AS "a_revenue",
      "t2"."founded_on" AS "a_founded_on",
      "t2"."legal_form" AS "a_legal_form",
      "t2"."public_body" AS "a_public_body",
      "t2"."siren" AS "a_siren",
      "t2"."siret" AS "a_siret",
      "t2"."company_category" AS "a_company_category",
      "t2"."headcount_band_year" AS "a_headcount_band_year",
      "t2"."local_authority" AS "a_local_authority",
      "t2"."tier" AS "a_tier",
      "t2"."growth" AS "a_growth",
      "t2"."valid_from" AS "a_valid_from",
      "t2"."valid_to" AS "a_valid_to"
    FROM "accounts" AS "t2"
  ) AS "t14"
    ON "t12"."p_account_id" = "t14"."a_account_id"
    AND "t14"."a_valid_from" <= "t11"."as_of"
    AND "t14"."a_valid_to" > "t11"."as_of"
  LEFT OUTER JOIN (
    SELECT
      "t22"."prospect_id" AS "event_prospect_id",
      "t22"."as_of" AS "event_as_of",
      CAST(COUNT(*) FILTER(WHERE
        "t22"."own"
        AND (
          "t22"."type" = 'mail'
        )
        AND (
          "t22"."occurred_at" > (
            "t22"."as_of" - 604800000000
          )
        )) AS DOUBLE) AS "x4d5fefcee35adb87",
      CASE
        WHEN SUM("t22"."value") FILTER(WHERE
          TRUE) < 0
        THEN -(
          CAST(-(
            SUM("t22"."value") FILTER(WHERE
              TRUE)
          ) AS DOUBLE)
        )
        ELSE CAST(SUM("t22"."value") FILTER(WHERE
          TRUE) AS DOUBLE)
      END / 1000000.0 AS "xece9ef6bb26c38dc",
      CAST(FIRST("t22"."value" ORDER BY "t22"."order" DESC) FILTER(WHERE
        "t22"."own" AND (
          "t22"."role" = 'buyer'
        ) AND (
          "t22"."value" IS NOT NULL
        )) AS DOUBLE) / 1000000.0 AS "x945bdd2fc518de52",
      CAST(COUNT(DISTINCT "t22"."known_contact") FILTER(WHERE
        "t22"."own"
        AND (
          "t22"."occurred_at" > (
            "t22"."as_of" - 2592000000000
          )
        )) AS DOUBLE) AS "xb6d879187c05d69d",
      CAST(MAX("t22"."as_of") - MAX("t22"."occurred_at") FILTER(WHERE
        "t22"."own"
        AND (
          "t22"."direction" = 'inbound'
        )
        AND (
          "t22"."channel" = 'web'
        )) AS DOUBLE) / 86400000000.0 AS "x74917c6ad0ba8793",
      CAST(COUNT(*) FILTER(WHERE
        TRUE
        AND (
          "t22"."type" = 'mail'
        )
        AND (
          "t22"."occurred_at" > (
            "t22"."as_of" - 2592000000000
          )
        )) AS DOUBLE) / NULLIF(
        CAST(COUNT(*) FILTER(WHERE
          TRUE AND (
            "t22"."occurred_at" > (
              "t22"."as_of" - 2592000000000
            )
          )) AS DOUBLE),
        0.0
      ) AS "x665f9d21f8246096",
      CAST(COUNT(*) FILTER(WHERE
        "t22"."own") AS DOUBLE) AS "x66892668371285e4"
    FROM (
      SELECT
        "t21"."prospect_id",
        "t21"."as_of",
        "t21"."member_id",
        "t21"."own",
        "t21"."event_id",
        "t21"."event_prospect_id",
        "t21"."type",
        "t21"."occurred_at",
        "t21"."recorded_at",
        "t21"."contact_id",
        "t21"."direction",
        "t21"."channel",
        "t21"."value",
        "t21"."known_contact",
        "t21"."role",
        "t21"."contact_from",
        "t21"."contact_to",
        {'occurred_at': "t21"."occurred_at", 'recorded_at': "t21"."recorded_at", 'id': "t21"."event_id"} AS "order"
      FROM (
        SELECT
          "t20"."prospect_id",
          "t20"."as_of",
          "t20"."member_id",
          "t20"."own",
          "t15"."event_id",
          "t15"."event_prospect_id",
          "t15"."type",
          "t15"."occurred_at",
          "t15"."recorded_at",
          "t15"."contact_id",
          "t15"."direction",
          "t15"."channel",
          "t15"."value",
          "t16"."known_contact",
          "t16"."role",
          "t16"."contact_from",
          "t16"."contact_to"
        FROM (
          SELECT
            *
          FROM (
            SELECT
              "t11"."prospect_id",
              "t11"."as_of",
              "t11"."prospect_id" AS "member_id",
              TRUE AS "own"
            FROM (
              SELECT
                *
              FROM "memory"."main"."spine" AS "t0"
            ) AS "t11"
            LEFT OUTER JOIN (
              SELECT
                "t1"."prospect_id" AS "p_prospect_id",
                "t1"."created_at" AS "p_created_at",
                "t1"."observed_at" AS "p_observed_at",
                "t1"."account_id" AS "p_account_id",
                "t1"."source" AS "p_source",
                "t1"."regime" AS "p_regime",
                "t1"."approach" AS "p_approach",
                "t1"."tender_deadline" AS "p_tender_deadline",
                "t1"."tender_announced_at" AS "p_tender_announced_at",
                "t1"."origin" AS "p_origin",
                "t1"."fit" AS "p_fit",
                "t1"."flagged" AS "p_flagged",
                "t1"."remark" AS "p_remark",
                "t1"."valid_from" AS "p_valid_from",
                "t1"."valid_to" AS "p_valid_to"
              FROM "prospects" AS "t1"
            ) AS "t12"
              ON "t11"."prospect_id" = "t12"."p_prospect_id"
              AND "t12"."p_valid_from" <= "t11"."as_of"
              AND "t12"."p_valid_to" > "t11"."as_of"
            LEFT OUTER JOIN (
              SELECT
                "t2"."account_id" AS "a_account_id",
                "t2"."observed_at" AS "a_observed_at",
                "t2"."country" AS "a_country",
                "t2"."industry" AS "a_industry",
                "t2"."headcount" AS "a_headcount",
                "t2"."headcount_band" AS "a_headcount_band",
                "t2"."revenue" AS "a_revenue",
                "t2"."founded_on" AS "a_founded_on",
                "t2"."legal_form" AS "a_legal_form",
                "t2"."public_body" AS "a_public_body",
                "t2"."siren" AS "a_siren",
                "t2"."siret" AS "a_siret",
                "t2"."company_category" AS "a_company_category",
                "t2"."headcount_band_year" AS "a_headcount_band_year",
                "t2"."local_authority" AS "a_local_authority",
                "t2"."tier" AS "a_tier",
                "t2"."growth" AS "a_growth",
                "t2"."valid_from" AS "a_valid_from",
                "t2"."valid_to" AS "a_valid_to"
              FROM "accounts" AS "t2"
            ) AS "t14"
              ON "t12"."p_account_id" = "t14"."a_account_id"
              AND "t14"."a_valid_from" <= "t11"."as_of"
              AND "t14"."a_valid_to" > "t11"."as_of"
          ) AS "t17"
          UNION ALL
          SELECT
            *
          FROM (
            SELECT
              "t11"."prospect_id",
              "t11"."as_of",
              "t13"."member_id",
              FALSE AS "own"
            FROM (
              SELECT
                *
              FROM "memory"."main"."spine" AS "t0"
            ) AS "t11"
            LEFT OUTER JOIN (
              SELECT
                "t1"."prospect_id" AS "p_prospect_id",
                "t1"."created_at" AS "p_created_at",
                "t1"."observed_at" AS "p_observed_at",
                "t1"."account_id" AS "p_account_id",
                "t1"."source" AS "p_source",
                "t1"."regime" AS "p_regime",
                "t1"."approach" AS "p_approach",
                "t1"."tender_deadline" AS "p_tender_deadline",
                "t1"."tender_announced_at" AS "p_tender_announced_at",
                "t1"."origin" AS "p_origin",
                "t1"."fit" AS "p_fit",
                "t1"."flagged" AS "p_flagged",
                "t1"."remark" AS "p_remark",
                "t1"."valid_from" AS "p_valid_from",
                "t1"."valid_to" AS "p_valid_to"
              FROM "prospects" AS "t1"
            ) AS "t12"
              ON "t11"."prospect_id" = "t12"."p_prospect_id"
              AND "t12"."p_valid_from" <= "t11"."as_of"
              AND "t12"."p_valid_to" > "t11"."as_of"
            LEFT OUTER JOIN (
              SELECT
                "t2"."account_id" AS "a_account_id",
                "t2"."observed_at" AS "a_observed_at",
                "t2"."country" AS "a_country",
                "t2"."industry" AS "a_industry",
                "t2"."headcount" AS "a_headcount",
                "t2"."headcount_band" AS "a_headcount_band",
                "t2"."revenue" AS "a_revenue",
                "t2"."founded_on" AS "a_founded_on",
                "t2"."legal_form" AS "a_legal_form",
                "t2"."public_body" AS "a_public_body",
                "t2"."siren" AS "a_siren",
                "t2"."siret" AS "a_siret",
                "t2"."company_category" AS "a_company_category",
                "t2"."headcount_band_year" AS "a_headcount_band_year",
                "t2"."local_authority" AS "a_local_authority",
                "t2"."tier" AS "a_tier",
                "t2"."growth" AS "a_growth",
                "t2"."valid_from" AS "a_valid_from",
                "t2"."valid_to" AS "a_valid_to"
              FROM "accounts" AS "t2"
            ) AS "t14"
              ON "t12"."p_account_id" = "t14"."a_account_id"
              AND "t14"."a_valid_from" <= "t11"."as_of"
              AND "t14"."a_valid_to" > "t11"."as_of"
            INNER JOIN (
              SELECT
                "t1"."prospect_id" AS "member_id",
                "t1"."account_id" AS "member_account_id",
                "t1"."valid_from" AS "from_",
                "t1"."valid_to" AS "to_"
              FROM "prospects" AS "t1"
            ) AS "t13"
              ON "t12"."p_account_id" = "t13"."member_account_id"
              AND "t13"."from_" <= "t11"."as_of"
              AND "t13"."to_" > "t11"."as_of"
              AND "t13"."member_id" <> "t11"."prospect_id"
          ) AS "t18"
        ) AS "t20"
        INNER JOIN (
          SELECT
            "t3"."event_id",
            "t3"."prospect_id" AS "event_prospect_id",
            "t3"."type",
            "t3"."occurred_at",
            "t3"."recorded_at",
            "t3"."contact_id",
            "t3"."direction",
            "t3"."channel",
            "t3"."value"
          FROM "events" AS "t3"
        ) AS "t15"
          ON "t20"."member_id" = "t15"."event_prospect_id"
          AND "t15"."occurred_at" <= "t20"."as_of"
          AND "t15"."recorded_at" <= "t20"."as_of"
        LEFT OUTER JOIN (
          SELECT
            "t4"."contact_id" AS "known_contact",
            "t4"."role",
            "t4"."valid_from" AS "contact_from",
            "t4"."valid_to" AS "contact_to"
          FROM "contacts" AS "t4"
        ) AS "t16"
          ON "t15"."contact_id" = "t16"."known_contact"
          AND "t16"."contact_from" <= "t20"."as_of"
          AND "t16"."contact_to" > "t20"."as_of"
      ) AS "t21"
    ) AS "t22"
    GROUP BY
      1,
      2
  ) AS "t24"
    ON "t11"."prospect_id" = "t24"."event_prospect_id"
    AND "t11"."as_of" = "t24"."event_as_of"
) AS "t25"
