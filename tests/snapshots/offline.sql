WITH "t29" AS (
  SELECT
    "t26"."prospect_id",
    "t26"."as_of",
    "t26"."member_id",
    "t26"."own",
    "t26"."born",
    "t19"."event_id",
    "t19"."event_prospect_id",
    "t19"."type",
    "t19"."occurred_at",
    "t19"."recorded_at",
    "t19"."contact_id",
    "t19"."direction",
    "t19"."channel",
    "t19"."value",
    "t19"."retracted_at",
    "t20"."known_contact",
    "t20"."role",
    "t20"."rank",
    "t20"."contact_from",
    "t20"."contact_to"
  FROM (
    SELECT
      *
    FROM (
      SELECT
        "t13"."prospect_id",
        "t13"."as_of",
        "t13"."prospect_id" AS "member_id",
        TRUE AS "own",
        "t13"."as_of" AS "born"
      FROM (
        SELECT
          *
        FROM "memory"."main"."spine" AS "t0"
      ) AS "t13"
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
      ) AS "t14"
        ON "t13"."prospect_id" = "t14"."p_prospect_id"
        AND "t14"."p_valid_from" <= "t13"."as_of"
        AND "t14"."p_valid_to" > "t13"."as_of"
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
      ) AS "t16"
        ON "t14"."p_account_id" = "t16"."a_account_id"
        AND "t16"."a_valid_from" <= "t13"."as_of"
        AND "t16"."a_valid_to" > "t13"."as_of"
    ) AS "t22"
    UNION ALL
    SELECT
      *
    FROM (
      SELECT
        "t13"."prospect_id",
        "t13"."as_of",
        "t15"."member_id",
        FALSE AS "own",
        "t15"."born"
      FROM (
        SELECT
          *
        FROM "memory"."main"."spine" AS "t0"
      ) AS "t13"
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
      ) AS "t14"
        ON "t13"."prospect_id" = "t14"."p_prospect_id"
        AND "t14"."p_valid_from" <= "t13"."as_of"
        AND "t14"."p_valid_to" > "t13"."as_of"
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
      ) AS "t16"
        ON "t14"."p_account_id" = "t16"."a_account_id"
        AND "t16"."a_valid_from" <= "t13"."as_of"
        AND "t16"."a_valid_to" > "t13"."as_of"
      INNER JOIN (
        SELECT
          "t1"."prospect_id" AS "member_id",
          "t1"."account_id" AS "member_account_id",
          "t1"."valid_from" AS "from_",
          "t1"."valid_to" AS "to_",
          "t1"."created_at" AS "born"
        FROM "prospects" AS "t1"
      ) AS "t15"
        ON "t14"."p_account_id" = "t15"."member_account_id"
        AND "t15"."from_" <= "t13"."as_of"
        AND "t15"."to_" > "t13"."as_of"
        AND "t15"."member_id" <> "t13"."prospect_id"
    ) AS "t23"
  ) AS "t26"
  INNER JOIN (
    SELECT
      "t4"."event_id",
      "t4"."prospect_id" AS "event_prospect_id",
      "t4"."type",
      "t4"."occurred_at",
      "t4"."recorded_at",
      "t4"."contact_id",
      "t4"."direction",
      "t4"."channel",
      "t4"."value",
      "t4"."retracted_at"
    FROM "events" AS "t4"
  ) AS "t19"
    ON "t26"."member_id" = "t19"."event_prospect_id"
    AND "t19"."occurred_at" <= "t26"."as_of"
    AND "t19"."recorded_at" <= "t26"."as_of"
    AND (
      (
        "t19"."retracted_at" IS NULL
      ) OR (
        "t19"."retracted_at" > "t26"."as_of"
      )
    )
  LEFT OUTER JOIN (
    SELECT
      "t5"."contact_id" AS "known_contact",
      "t5"."buying_role" AS "role",
      "t5"."rank",
      "t5"."valid_from" AS "contact_from",
      "t5"."valid_to" AS "contact_to"
    FROM "contacts" AS "t5"
  ) AS "t20"
    ON "t19"."contact_id" = "t20"."known_contact"
    AND "t20"."contact_from" <= "t26"."as_of"
    AND "t20"."contact_to" > "t26"."as_of"
)
SELECT
  "t46"."prospect_id",
  "t46"."as_of",
  "t46"."p_source" AS "source",
  "t46"."a_headcount" AS "account_headcount",
  COALESCE("t46"."x6b60bcdf5a8557c6", 0.0) AS "mail_count_7d",
  CASE
    WHEN "t46"."p_account_id" IS NULL
    THEN CAST(NULL AS DOUBLE)
    ELSE COALESCE("t46"."x599e608dcd5ddc6e", 0.0)
  END AS "account_event_sum",
  "t46"."x6382238e11e22e76" AS "buyer_event_last",
  COALESCE("t46"."xb83e3f52a88f1d95", 0.0) AS "event_distinct_contacts_30d",
  "t46"."x9a73000ee989dfdb" AS "inbound_web_event_days_since_last",
  CASE
    WHEN "t46"."p_account_id" IS NULL
    THEN CAST(NULL AS DOUBLE)
    ELSE "t46"."x6ec61cf73c5ffd29"
  END AS "account_mail_share_30d",
  COALESCE("t46"."x702fb3a2bf44ee28", 0.0) AS "head_discover_stage_event_count_30d",
  COALESCE("t46"."x3416bfae8f9d7bba", 0.0) AS "event_distinct_roles_90d",
  "t46"."x2c9308a2387aaf7a" AS "event_top_contact_share_90d",
  "t46"."xdc357e80adb6baa1" AS "event_top_contact_share",
  CASE
    WHEN "t46"."p_account_id" IS NULL
    THEN CAST(NULL AS DOUBLE)
    ELSE COALESCE("t46"."x0bed175fb919a59e", 0.0)
  END AS "account_outcome_won_count",
  CASE
    WHEN "t46"."p_account_id" IS NULL
    THEN CAST(NULL AS DOUBLE)
    ELSE COALESCE("t46"."xccae585891faf152", 0.0)
  END AS "account_open_prospects",
  CASE
    WHEN "t46"."x37475f1534e3e818" IS NOT NULL
    THEN 3.0
    WHEN "t46"."x9c21835ba67e437d" IS NOT NULL
    THEN 2.0
    WHEN "t46"."x189f2d3c3d47d8b2" IS NOT NULL
    THEN 1.0
    ELSE 0.0
  END AS "stage_reached",
  CASE
    WHEN REGEXP_EXTRACT(
      "t46"."a_industry",
      '^[\t-\r\x1c-\x20\x85\xa0  -     　]*([0-9][0-9])(?:\.(?:([0-9][0-9])(?:[ \t\n\r\f\x0b]?[A-Za-z])?|[0-9])|([0-9][0-9])[ \t\n\r\f\x0b]?[A-Za-z])?[\t-\r\x1c-\x20\x85\xa0  -     　]*$',
      1
    ) IN (
      '01',
      '02',
      '03',
      '05',
      '06',
      '07',
      '08',
      '09',
      '10',
      '11',
      '12',
      '13',
      '14',
      '15',
      '16',
      '17',
      '18',
      '19',
      '20',
      '21',
      '22',
      '23',
      '24',
      '25',
      '26',
      '27',
      '28',
      '29',
      '30',
      '31',
      '32',
      '33',
      '35',
      '36',
      '37',
      '38',
      '39',
      '41',
      '42',
      '43',
      '45',
      '46',
      '47',
      '49',
      '50',
      '51',
      '52',
      '53',
      '55',
      '56',
      '58',
      '59',
      '60',
      '61',
      '62',
      '63',
      '64',
      '65',
      '66',
      '68',
      '69',
      '70',
      '71',
      '72',
      '73',
      '74',
      '75',
      '77',
      '78',
      '79',
      '80',
      '81',
      '82',
      '84',
      '85',
      '86',
      '87',
      '88',
      '90',
      '91',
      '92',
      '93',
      '94',
      '95',
      '96',
      '97',
      '98',
      '99'
    )
    AND (
      COALESCE(
        REGEXP_EXTRACT(
          "t46"."a_industry",
          '^[\t-\r\x1c-\x20\x85\xa0  -     　]*([0-9][0-9])(?:\.(?:([0-9][0-9])(?:[ \t\n\r\f\x0b]?[A-Za-z])?|[0-9])|([0-9][0-9])[ \t\n\r\f\x0b]?[A-Za-z])?[\t-\r\x1c-\x20\x85\xa0  -     　]*$',
          2
        ),
        ''
      ) || COALESCE(
        REGEXP_EXTRACT(
          "t46"."a_industry",
          '^[\t-\r\x1c-\x20\x85\xa0  -     　]*([0-9][0-9])(?:\.(?:([0-9][0-9])(?:[ \t\n\r\f\x0b]?[A-Za-z])?|[0-9])|([0-9][0-9])[ \t\n\r\f\x0b]?[A-Za-z])?[\t-\r\x1c-\x20\x85\xa0  -     　]*$',
          3
        ),
        ''
      ) <> ''
    )
    THEN REGEXP_EXTRACT(
      "t46"."a_industry",
      '^[\t-\r\x1c-\x20\x85\xa0  -     　]*([0-9][0-9])(?:\.(?:([0-9][0-9])(?:[ \t\n\r\f\x0b]?[A-Za-z])?|[0-9])|([0-9][0-9])[ \t\n\r\f\x0b]?[A-Za-z])?[\t-\r\x1c-\x20\x85\xa0  -     　]*$',
      1
    ) || '.' || COALESCE(
      REGEXP_EXTRACT(
        "t46"."a_industry",
        '^[\t-\r\x1c-\x20\x85\xa0  -     　]*([0-9][0-9])(?:\.(?:([0-9][0-9])(?:[ \t\n\r\f\x0b]?[A-Za-z])?|[0-9])|([0-9][0-9])[ \t\n\r\f\x0b]?[A-Za-z])?[\t-\r\x1c-\x20\x85\xa0  -     　]*$',
        2
      ),
      ''
    ) || COALESCE(
      REGEXP_EXTRACT(
        "t46"."a_industry",
        '^[\t-\r\x1c-\x20\x85\xa0  -     　]*([0-9][0-9])(?:\.(?:([0-9][0-9])(?:[ \t\n\r\f\x0b]?[A-Za-z])?|[0-9])|([0-9][0-9])[ \t\n\r\f\x0b]?[A-Za-z])?[\t-\r\x1c-\x20\x85\xa0  -     　]*$',
        3
      ),
      ''
    )
    ELSE CAST(NULL AS TEXT)
  END AS "account_industry_class",
  CASE "t46"."a_headcount_band"
    WHEN 'NN'
    THEN 0.0
    WHEN '00'
    THEN 1.0
    WHEN '01'
    THEN 2.0
    WHEN '02'
    THEN 3.0
    WHEN '03'
    THEN 4.0
    WHEN '11'
    THEN 5.0
    WHEN '12'
    THEN 6.0
    WHEN '21'
    THEN 7.0
    WHEN '22'
    THEN 8.0
    WHEN '31'
    THEN 9.0
    WHEN '32'
    THEN 10.0
    WHEN '41'
    THEN 11.0
    WHEN '42'
    THEN 12.0
    WHEN '51'
    THEN 13.0
    WHEN '52'
    THEN 14.0
    WHEN '53'
    THEN 15.0
    ELSE CAST(NULL AS DOUBLE)
  END AS "account_headcount_band_order",
  CAST("t46"."as_of" - "t46"."p_created_at" AS DOUBLE) / 86400000000.0 AS "days_since_created_at",
  CASE
    WHEN ISINF(COALESCE("t46"."x4c2fa82b2fa6cd84", 0.0) / NULLIF("t46"."a_headcount", 0.0))
    THEN CAST(NULL AS DOUBLE)
    ELSE COALESCE("t46"."x4c2fa82b2fa6cd84", 0.0) / NULLIF("t46"."a_headcount", 0.0)
  END AS "event_count_per_account_headcount",
  CAST(0 + CAST("t46"."a_headcount" >= 10.0 AS BIGINT) + CAST("t46"."a_headcount" >= 50.0 AS BIGINT) AS DOUBLE) AS "account_headcount_bands",
  CAST((
    DAYOFWEEK(
      EPOCH_MS(
        CAST((
          "t46"."as_of" - (
            (
              (
                "t46"."as_of" % 1000
              ) + 1000
            ) % 1000
          )
        ) / 1000 AS BIGINT)
      )
    ) + 6
  ) % 7 AS DOUBLE) AS "as_of_weekday"
FROM (
  SELECT
    "t13"."prospect_id",
    "t13"."as_of",
    "t14"."p_prospect_id",
    "t14"."p_created_at",
    "t14"."p_observed_at",
    "t14"."p_account_id",
    "t14"."p_source",
    "t14"."p_regime",
    "t14"."p_approach",
    "t14"."p_tender_deadline",
    "t14"."p_tender_announced_at",
    "t14"."p_origin",
    "t14"."p_fit",
    "t14"."p_flagged",
    "t14"."p_remark",
    "t14"."p_valid_from",
    "t14"."p_valid_to",
    "t16"."a_account_id",
    "t16"."a_observed_at",
    "t16"."a_country",
    "t16"."a_industry",
    "t16"."a_headcount",
    "t16"."a_headcount_band",
    "t16"."a_revenue",
    "t16"."a_founded_on",
    "t16"."a_legal_form",
    "t16"."a_public_body",
    "t16"."a_siren",
    "t16"."a_siret",
    "t16"."a_company_category",
    "t16"."a_headcount_band_year",
    "t16"."a_local_authority",
    "t16"."a_tier",
    "t16"."a_growth",
    "t16"."a_valid_from",
    "t16"."a_valid_to",
    "t42"."x6b60bcdf5a8557c6",
    "t42"."x599e608dcd5ddc6e",
    "t42"."x6382238e11e22e76",
    "t42"."x9a73000ee989dfdb",
    "t42"."x6ec61cf73c5ffd29",
    "t42"."x702fb3a2bf44ee28",
    "t42"."x189f2d3c3d47d8b2",
    "t42"."x9c21835ba67e437d",
    "t42"."x37475f1534e3e818",
    "t42"."x4c2fa82b2fa6cd84",
    "t45"."xb83e3f52a88f1d95",
    "t45"."x3416bfae8f9d7bba",
    "t45"."x2c9308a2387aaf7a",
    "t45"."xdc357e80adb6baa1",
    "t36"."x0bed175fb919a59e",
    "t38"."xccae585891faf152"
  FROM (
    SELECT
      *
    FROM "memory"."main"."spine" AS "t0"
  ) AS "t13"
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
  ) AS "t14"
    ON "t13"."prospect_id" = "t14"."p_prospect_id"
    AND "t14"."p_valid_from" <= "t13"."as_of"
    AND "t14"."p_valid_to" > "t13"."as_of"
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
  ) AS "t16"
    ON "t14"."p_account_id" = "t16"."a_account_id"
    AND "t16"."a_valid_from" <= "t13"."as_of"
    AND "t16"."a_valid_to" > "t13"."as_of"
  LEFT OUTER JOIN (
    SELECT
      "t40"."prospect_id" AS "found_prospect_id",
      "t40"."as_of" AS "found_as_of",
      "t40"."x6b60bcdf5a8557c6",
      "t40"."x599e608dcd5ddc6e",
      "t40"."x6382238e11e22e76",
      "t40"."x9a73000ee989dfdb",
      "t40"."x6ec61cf73c5ffd29",
      "t40"."x702fb3a2bf44ee28",
      "t40"."x189f2d3c3d47d8b2",
      "t40"."x9c21835ba67e437d",
      "t40"."x37475f1534e3e818",
      "t40"."x4c2fa82b2fa6cd84"
    FROM (
      SELECT
        "t31"."prospect_id",
        "t31"."as_of",
        CAST(COUNT(
          CASE
            WHEN "t31"."own"
            AND (
              "t31"."type" = 'mail'
            )
            AND (
              "t31"."occurred_at" > (
                "t31"."as_of" - 604800000000
              )
            )
            THEN "t31"."as_of"
            ELSE NULL
          END
        ) AS DOUBLE) AS "x6b60bcdf5a8557c6",
        CASE
          WHEN SUM(CASE WHEN TRUE THEN "t31"."value" ELSE NULL END) < 0
          THEN -(
            CAST(-(
              SUM(CASE WHEN TRUE THEN "t31"."value" ELSE NULL END)
            ) AS DOUBLE)
          )
          ELSE CAST(SUM(CASE WHEN TRUE THEN "t31"."value" ELSE NULL END) AS DOUBLE)
        END / 1000000.0 AS "x599e608dcd5ddc6e",
        CAST(FIRST("t31"."value" ORDER BY "t31"."order" DESC) FILTER(WHERE
          "t31"."own" AND (
            "t31"."role" = 'buyer'
          ) AND (
            "t31"."value" IS NOT NULL
          )) AS DOUBLE) / 1000000.0 AS "x6382238e11e22e76",
        CAST(MAX("t31"."as_of") - MAX(
          CASE
            WHEN "t31"."own"
            AND (
              "t31"."direction" = 'inbound'
            )
            AND (
              "t31"."channel" = 'web'
            )
            THEN "t31"."occurred_at"
            ELSE NULL
          END
        ) AS DOUBLE) / 86400000000.0 AS "x9a73000ee989dfdb",
        CAST(COUNT(
          CASE
            WHEN TRUE
            AND (
              "t31"."type" = 'mail'
            )
            AND (
              "t31"."occurred_at" > (
                "t31"."as_of" - 2592000000000
              )
            )
            THEN "t31"."as_of"
            ELSE NULL
          END
        ) AS DOUBLE) / NULLIF(
          CAST(COUNT(
            CASE
              WHEN TRUE AND (
                "t31"."occurred_at" > (
                  "t31"."as_of" - 2592000000000
                )
              )
              THEN "t31"."as_of"
              ELSE NULL
            END
          ) AS DOUBLE),
          0.0
        ) AS "x6ec61cf73c5ffd29",
        CAST(COUNT(
          CASE
            WHEN "t31"."own"
            AND (
              "t31"."rank" = 'head'
            )
            AND "t31"."type" IN ('mail', 'quote')
            AND (
              "t31"."occurred_at" > (
                "t31"."as_of" - 2592000000000
              )
            )
            THEN "t31"."as_of"
            ELSE NULL
          END
        ) AS DOUBLE) AS "x702fb3a2bf44ee28",
        CAST(MAX("t31"."as_of") - MIN(
          CASE
            WHEN "t31"."own" AND "t31"."type" IN ('mail', 'quote')
            THEN "t31"."occurred_at"
            ELSE NULL
          END
        ) AS DOUBLE) / 86400000000.0 AS "x189f2d3c3d47d8b2",
        CAST(MAX("t31"."as_of") - MIN(
          CASE
            WHEN "t31"."own" AND "t31"."type" IN ('call')
            THEN "t31"."occurred_at"
            ELSE NULL
          END
        ) AS DOUBLE) / 86400000000.0 AS "x9c21835ba67e437d",
        CAST(MAX("t31"."as_of") - MIN(
          CASE
            WHEN "t31"."own" AND "t31"."type" IN ('Démo', 'never sent')
            THEN "t31"."occurred_at"
            ELSE NULL
          END
        ) AS DOUBLE) / 86400000000.0 AS "x37475f1534e3e818",
        CAST(COUNT(CASE WHEN "t31"."own" THEN "t31"."as_of" ELSE NULL END) AS DOUBLE) AS "x4c2fa82b2fa6cd84"
      FROM (
        SELECT
          "t30"."prospect_id",
          "t30"."as_of",
          "t30"."member_id",
          "t30"."own",
          "t30"."born",
          "t30"."event_id",
          "t30"."event_prospect_id",
          "t30"."type",
          "t30"."occurred_at",
          "t30"."recorded_at",
          "t30"."contact_id",
          "t30"."direction",
          "t30"."channel",
          "t30"."value",
          "t30"."retracted_at",
          "t30"."known_contact",
          "t30"."role",
          "t30"."rank",
          "t30"."contact_from",
          "t30"."contact_to",
          {'occurred_at': "t30"."occurred_at", 'recorded_at': "t30"."recorded_at", 'id': "t30"."event_id"} AS "order"
        FROM "t29" AS "t30"
      ) AS "t31"
      GROUP BY
        1,
        2
    ) AS "t40"
  ) AS "t42"
    ON "t13"."prospect_id" = "t42"."found_prospect_id"
    AND "t13"."as_of" = "t42"."found_as_of"
  LEFT OUTER JOIN (
    SELECT
      "t43"."prospect_id" AS "found_prospect_id",
      "t43"."as_of" AS "found_as_of",
      "t43"."xb83e3f52a88f1d95",
      "t43"."x3416bfae8f9d7bba",
      "t43"."x2c9308a2387aaf7a",
      "t43"."xdc357e80adb6baa1"
    FROM (
      SELECT
        "t39"."prospect_id",
        "t39"."as_of",
        CAST(COUNT(CASE WHEN "t39"."xb83e3f52a88f1d95" > 0 THEN "t39"."as_of" ELSE NULL END) AS DOUBLE) AS "xb83e3f52a88f1d95",
        CAST(CAST(COUNT(
          CASE
            WHEN (
              "t39"."x3416bfae8f9d7bba" > 0
            ) AND (
              "t39"."role" = 'buyer'
            )
            THEN "t39"."as_of"
            ELSE NULL
          END
        ) > 0 AS BIGINT) + CAST(COUNT(
          CASE
            WHEN (
              "t39"."x3416bfae8f9d7bba" > 0
            ) AND (
              "t39"."role" = 'prescriber'
            )
            THEN "t39"."as_of"
            ELSE NULL
          END
        ) > 0 AS BIGINT) + CAST(COUNT(
          CASE
            WHEN (
              "t39"."x3416bfae8f9d7bba" > 0
            ) AND (
              "t39"."role" = 'user'
            )
            THEN "t39"."as_of"
            ELSE NULL
          END
        ) > 0 AS BIGINT) AS DOUBLE) AS "x3416bfae8f9d7bba",
        CAST(MAX("t39"."x2c9308a2387aaf7a") AS DOUBLE) / NULLIF(CAST(SUM("t39"."x2c9308a2387aaf7a") AS DOUBLE), 0.0) AS "x2c9308a2387aaf7a",
        CAST(MAX("t39"."xdc357e80adb6baa1") AS DOUBLE) / NULLIF(CAST(SUM("t39"."xdc357e80adb6baa1") AS DOUBLE), 0.0) AS "xdc357e80adb6baa1"
      FROM (
        SELECT
          "t32"."prospect_id",
          "t32"."as_of",
          "t32"."known_contact",
          "t32"."role",
          COUNT(
            CASE
              WHEN "t32"."own"
              AND (
                "t32"."occurred_at" > (
                  "t32"."as_of" - 2592000000000
                )
              )
              THEN "t32"."as_of"
              ELSE NULL
            END
          ) AS "xb83e3f52a88f1d95",
          COUNT(
            CASE
              WHEN "t32"."own"
              AND (
                "t32"."occurred_at" > (
                  "t32"."as_of" - 7776000000000
                )
              )
              THEN "t32"."as_of"
              ELSE NULL
            END
          ) AS "x3416bfae8f9d7bba",
          COUNT(
            CASE
              WHEN "t32"."own"
              AND (
                "t32"."occurred_at" > (
                  "t32"."as_of" - 7776000000000
                )
              )
              THEN "t32"."as_of"
              ELSE NULL
            END
          ) AS "x2c9308a2387aaf7a",
          COUNT(CASE WHEN "t32"."own" THEN "t32"."as_of" ELSE NULL END) AS "xdc357e80adb6baa1"
        FROM (
          SELECT
            "t30"."prospect_id",
            "t30"."as_of",
            "t30"."member_id",
            "t30"."own",
            "t30"."born",
            "t30"."event_id",
            "t30"."event_prospect_id",
            "t30"."type",
            "t30"."occurred_at",
            "t30"."recorded_at",
            "t30"."contact_id",
            "t30"."direction",
            "t30"."channel",
            "t30"."value",
            "t30"."retracted_at",
            "t30"."known_contact",
            "t30"."role",
            "t30"."rank",
            "t30"."contact_from",
            "t30"."contact_to",
            {'occurred_at': "t30"."occurred_at", 'recorded_at': "t30"."recorded_at", 'id': "t30"."event_id"} AS "order"
          FROM "t29" AS "t30"
          WHERE
            "t30"."known_contact" IS NOT NULL
        ) AS "t32"
        GROUP BY
          1,
          2,
          3,
          4
      ) AS "t39"
      GROUP BY
        1,
        2
    ) AS "t43"
  ) AS "t45"
    ON "t13"."prospect_id" = "t45"."found_prospect_id"
    AND "t13"."as_of" = "t45"."found_as_of"
  LEFT OUTER JOIN (
    SELECT
      "t33"."prospect_id" AS "found_prospect_id",
      "t33"."as_of" AS "found_as_of",
      "t33"."x0bed175fb919a59e"
    FROM (
      SELECT
        "t27"."prospect_id",
        "t27"."as_of",
        CAST(COUNT(CASE WHEN TRUE AND (
          "t27"."type" = 'won'
        ) THEN "t27"."as_of" ELSE NULL END) AS DOUBLE) AS "x0bed175fb919a59e"
      FROM (
        SELECT
          "t26"."prospect_id",
          "t26"."as_of",
          "t26"."member_id",
          "t26"."own",
          "t26"."born",
          "t17"."outcome_prospect_id",
          "t17"."type",
          "t17"."occurred_at",
          "t17"."recorded_at"
        FROM (
          SELECT
            *
          FROM (
            SELECT
              "t13"."prospect_id",
              "t13"."as_of",
              "t13"."prospect_id" AS "member_id",
              TRUE AS "own",
              "t13"."as_of" AS "born"
            FROM (
              SELECT
                *
              FROM "memory"."main"."spine" AS "t0"
            ) AS "t13"
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
            ) AS "t14"
              ON "t13"."prospect_id" = "t14"."p_prospect_id"
              AND "t14"."p_valid_from" <= "t13"."as_of"
              AND "t14"."p_valid_to" > "t13"."as_of"
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
            ) AS "t16"
              ON "t14"."p_account_id" = "t16"."a_account_id"
              AND "t16"."a_valid_from" <= "t13"."as_of"
              AND "t16"."a_valid_to" > "t13"."as_of"
          ) AS "t22"
          UNION ALL
          SELECT
            *
          FROM (
            SELECT
              "t13"."prospect_id",
              "t13"."as_of",
              "t15"."member_id",
              FALSE AS "own",
              "t15"."born"
            FROM (
              SELECT
                *
              FROM "memory"."main"."spine" AS "t0"
            ) AS "t13"
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
            ) AS "t14"
              ON "t13"."prospect_id" = "t14"."p_prospect_id"
              AND "t14"."p_valid_from" <= "t13"."as_of"
              AND "t14"."p_valid_to" > "t13"."as_of"
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
            ) AS "t16"
              ON "t14"."p_account_id" = "t16"."a_account_id"
              AND "t16"."a_valid_from" <= "t13"."as_of"
              AND "t16"."a_valid_to" > "t13"."as_of"
            INNER JOIN (
              SELECT
                "t1"."prospect_id" AS "member_id",
                "t1"."account_id" AS "member_account_id",
                "t1"."valid_from" AS "from_",
                "t1"."valid_to" AS "to_",
                "t1"."created_at" AS "born"
              FROM "prospects" AS "t1"
            ) AS "t15"
              ON "t14"."p_account_id" = "t15"."member_account_id"
              AND "t15"."from_" <= "t13"."as_of"
              AND "t15"."to_" > "t13"."as_of"
              AND "t15"."member_id" <> "t13"."prospect_id"
          ) AS "t23"
        ) AS "t26"
        INNER JOIN (
          SELECT
            "t3"."prospect_id" AS "outcome_prospect_id",
            "t3"."outcome" AS "type",
            "t3"."occurred_at",
            "t3"."recorded_at"
          FROM "outcomes" AS "t3"
        ) AS "t17"
          ON "t26"."member_id" = "t17"."outcome_prospect_id"
          AND "t17"."occurred_at" <= "t26"."as_of"
          AND "t17"."recorded_at" <= "t26"."as_of"
      ) AS "t27"
      GROUP BY
        1,
        2
    ) AS "t33"
  ) AS "t36"
    ON "t13"."prospect_id" = "t36"."found_prospect_id"
    AND "t13"."as_of" = "t36"."found_as_of"
  LEFT OUTER JOIN (
    SELECT
      "t34"."prospect_id" AS "found_prospect_id",
      "t34"."as_of" AS "found_as_of",
      "t34"."xccae585891faf152"
    FROM (
      SELECT
        "t28"."prospect_id",
        "t28"."as_of",
        CAST(COUNT(
          CASE
            WHEN NOT (
              "t28"."own"
            )
            AND (
              "t28"."born" <= "t28"."as_of"
            )
            AND (
              (
                "t28"."closed_at" IS NULL
              ) OR (
                "t28"."closed_at" > "t28"."as_of"
              )
            )
            THEN "t28"."as_of"
            ELSE NULL
          END
        ) AS DOUBLE) AS "xccae585891faf152"
      FROM (
        SELECT
          "t26"."prospect_id",
          "t26"."as_of",
          "t26"."member_id",
          "t26"."own",
          "t26"."born",
          "t24"."closed_id",
          "t24"."closed_at"
        FROM (
          SELECT
            *
          FROM (
            SELECT
              "t13"."prospect_id",
              "t13"."as_of",
              "t13"."prospect_id" AS "member_id",
              TRUE AS "own",
              "t13"."as_of" AS "born"
            FROM (
              SELECT
                *
              FROM "memory"."main"."spine" AS "t0"
            ) AS "t13"
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
            ) AS "t14"
              ON "t13"."prospect_id" = "t14"."p_prospect_id"
              AND "t14"."p_valid_from" <= "t13"."as_of"
              AND "t14"."p_valid_to" > "t13"."as_of"
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
            ) AS "t16"
              ON "t14"."p_account_id" = "t16"."a_account_id"
              AND "t16"."a_valid_from" <= "t13"."as_of"
              AND "t16"."a_valid_to" > "t13"."as_of"
          ) AS "t22"
          UNION ALL
          SELECT
            *
          FROM (
            SELECT
              "t13"."prospect_id",
              "t13"."as_of",
              "t15"."member_id",
              FALSE AS "own",
              "t15"."born"
            FROM (
              SELECT
                *
              FROM "memory"."main"."spine" AS "t0"
            ) AS "t13"
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
            ) AS "t14"
              ON "t13"."prospect_id" = "t14"."p_prospect_id"
              AND "t14"."p_valid_from" <= "t13"."as_of"
              AND "t14"."p_valid_to" > "t13"."as_of"
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
            ) AS "t16"
              ON "t14"."p_account_id" = "t16"."a_account_id"
              AND "t16"."a_valid_from" <= "t13"."as_of"
              AND "t16"."a_valid_to" > "t13"."as_of"
            INNER JOIN (
              SELECT
                "t1"."prospect_id" AS "member_id",
                "t1"."account_id" AS "member_account_id",
                "t1"."valid_from" AS "from_",
                "t1"."valid_to" AS "to_",
                "t1"."created_at" AS "born"
              FROM "prospects" AS "t1"
            ) AS "t15"
              ON "t14"."p_account_id" = "t15"."member_account_id"
              AND "t15"."from_" <= "t13"."as_of"
              AND "t15"."to_" > "t13"."as_of"
              AND "t15"."member_id" <> "t13"."prospect_id"
          ) AS "t23"
        ) AS "t26"
        LEFT OUTER JOIN (
          SELECT
            "t18"."prospect_id" AS "closed_id",
            MIN("t18"."known_at") AS "closed_at"
          FROM (
            SELECT
              "t3"."prospect_id",
              "t3"."outcome",
              "t3"."occurred_at",
              "t3"."recorded_at",
              "t3"."outcome_id",
              GREATEST("t3"."occurred_at", "t3"."recorded_at") AS "known_at"
            FROM "outcomes" AS "t3"
            WHERE
              "t3"."outcome" IN ('won', 'lost')
          ) AS "t18"
          GROUP BY
            1
        ) AS "t24"
          ON "t26"."member_id" = "t24"."closed_id"
      ) AS "t28"
      GROUP BY
        1,
        2
    ) AS "t34"
  ) AS "t38"
    ON "t13"."prospect_id" = "t38"."found_prospect_id"
    AND "t13"."as_of" = "t38"."found_as_of"
) AS "t46"
